"""Disks of the tests' own: a program that runs in a mount namespace, with other mounts than we see."""

import functools
import os
import subprocess


@functools.cache
def _unshare():
    """It makes all mounts private first, which it cannot where / is no mount point (a plain chroot)."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    private = subprocess.run([*unshare, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    return unshare if private else [*unshare, "--propagation", "unchanged"]


def in_mounts(commands):
    """The beginning of a command line: the program after it runs where `commands` were run in $XDG_STATE_HOME."""
    return [*_unshare(), "sh", "-c", f'set -e; cd "$XDG_STATE_HOME"; {commands}; cd /; exec "$0" "$@"']


def take_off(path):
    """Where mounts could not be made private, it may be here too."""
    while os.path.ismount(path):
        subprocess.run(["umount", "-l", path], check=True)
