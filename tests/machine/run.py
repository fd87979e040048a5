#!/usr/bin/python3
"""make machine: a Debian 12 with mltoken in it, booted by systemd-nspawn, and the tests against it. Needs root.

The tree is built once, by mmdebstrap, and kept in $MACHINE_CACHE (default /var/cache/mltoken-machine; make machine-clean
removes it). A run changes nothing there: what it writes, and mltoken itself, goes to memory laid over the tree. Everything
runs in mount, process and network namespaces of its own, so that it ends with the run whatever happens, and so that the
scripted authority, which runs beside the machine, is the only thing on its 127.0.0.1.

Arguments go to pytest (for example: make machine MACHINE="-k journal"). The last line counts: "N passed, N failed"."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("MACHINE_CACHE") or "/var/cache/mltoken-machine")
SUITE = "bookworm"
PACKAGES = ["systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "procps", "python3", "ca-certificates",
            "libcurl4", "libjson-c5", "libssl3", "libqrencode4", "libsodium23", "libsecret-1-0", "openssh-server", "openssh-client",
            "login", "libpam-runtime"]
CLONE_NEWNS = 0x20000
INSIDE = "--inside"


def fail(text):
    print(f"machine: {text}", file=sys.stderr)
    print("0 passed, 1 failed")
    sys.exit(1)


def tree():
    """The path of the tree for these packages; built if it is not there, and no other is kept."""
    name = f"{SUITE}-" + hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:12]
    path = CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.is_dir():
            return path
        for old in CACHE.glob(f"{SUITE}-*"):
            shutil.rmtree(old)
        with tempfile.TemporaryDirectory(prefix="new-", dir=CACHE) as new:
            # with an identity of its own from the start, it is not set up as at a first boot
            done = subprocess.run(["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--include=" + ",".join(PACKAGES),
                                   "--customize-hook=systemd-machine-id-setup --root=\"$1\"",
                                   "--customize-hook=echo machine > \"$1/etc/hostname\"",
                                   SUITE, new + "/tree"], stdin=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                fail("mmdebstrap could not build the tree")
            os.rename(new + "/tree", path)
    return path


def clean():
    """What this made, and nothing else that may be in a folder that somebody named."""
    for old in [*CACHE.glob(f"{SUITE}-*"), *CACHE.glob("new-*")]:
        shutil.rmtree(old)
    (CACHE / "lock").unlink(missing_ok=True)
    if CACHE.is_dir() and not any(CACHE.iterdir()):
        CACHE.rmdir()
    return 0


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(s, 0x8914, request)  # SIOCSIFFLAGS


def mount(*args):
    subprocess.run(["mount", *args], check=True)


def gone(folder):
    with contextlib.suppress(FileNotFoundError):
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            raise
    return True


def cgroup_mounts():
    """Where the hierarchy of version 2 is, and systemd's own of version 1, where nspawn makes the same folders."""
    second, first = [], []
    with open("/proc/self/mountinfo", encoding="ascii") as f:
        for line in f:
            place, kind = line.split()[4], line.partition(" - ")[2].split()
            if kind[0] == "cgroup2":
                second.append(place)
            elif kind[0] == "cgroup" and "name=systemd" in kind[2].split(","):
                first.append(place)
    return second, first


@contextlib.contextmanager
def own_cgroup():
    """One of our own for the machine, where the kernel's are writable: nspawn makes others in it, and leaves them."""
    mounts, mirrors = cgroup_mounts()
    with open("/proc/self/cgroup", encoding="ascii") as f:
        ours = [line.strip().split(":", 2)[2] for line in f if line.startswith("0::")]
    parent = Path(mounts[0] + ours[0]) if mounts and ours else None
    path = parent / f"mltoken-machine-{os.urandom(4).hex()}" if parent else None
    try:
        if path:
            path.mkdir()
            (path / "cgroup.procs").write_text("0")
    except OSError:
        path = None
    yield
    if path:
        (parent / "cgroup.procs").write_text("0")
        end = time.monotonic() + 30
        for top in (path, *(Path(mirror + ours[0]) / path.name for mirror in mirrors)):
            for folder, _, _ in os.walk(top, topdown=False):
                while not gone(folder) and time.monotonic() < end:  # what was killed may still be ending
                    time.sleep(0.05)


def install(root):
    """As the README says, and a package would: below /usr, and the module where PAM looks."""
    security = next((root / "usr" / "lib").glob("*-linux-gnu*/security")).relative_to(root)
    done = subprocess.run(["make", "-s", "install", f"BUILD={os.environ['MLTOKEN_BUILD']}", "prefix=/usr", f"pamdir=/{security}",
                           f"DESTDIR={root}"], cwd=TOP, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        fail(f"make install: {done.stdout}")


def as_init(command, **more):
    """Runs it, as the first process of a namespace: what others left is ours to reap. A zombie would hold up the machine's end."""
    child = subprocess.Popen(command, **more)
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode


def inside(base, arguments):
    """In the namespaces: memory over the tree, mltoken into it, and the tests."""
    loopback_up()
    mount("-t", "tmpfs", "-o", "mode=0755", "run", "/run")  # what nspawn keeps there is gone with us
    work = Path("/run/machine")
    for name in ("upper", "work", "root"):
        (work / name).mkdir(parents=True)
    mount("-t", "overlay", "-o", f"lowerdir={base},upperdir={work}/upper,workdir={work}/work", "overlay", str(work / "root"))
    install(work / "root")
    report = work / "report.xml"
    environment = {**os.environ, "MLTOKEN_MACHINE": str(work / "root"), "PYTHONDONTWRITEBYTECODE": "1"}
    with own_cgroup():
        code = as_init([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "tests/machine", *arguments],
                       cwd=TOP, env=environment, stdin=subprocess.DEVNULL)
    if not report.exists():
        fail("pytest did not run")
    suite = ElementTree.parse(report).getroot().find("testsuite")
    count = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    failed = max(count["failures"] + count["errors"], code != 0)
    print(f"{count['tests'] - count['failures'] - count['errors'] - count['skipped']} passed, {failed} failed")
    return 1 if failed else 0


def main(arguments):
    if arguments[:1] == [INSIDE]:
        return inside(arguments[1], arguments[2:])
    if arguments == ["--clean"]:
        return clean()
    if os.geteuid() != 0:
        fail("this needs root: sudo make machine")
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, __file__, INSIDE, str(tree()),
               *arguments]
    if os.path.isdir("/run/systemd/system"):  # a manager's cgroups are its own: one is asked for
        command = ["systemd-run", "--quiet", "--scope", "--property=Delegate=yes", *command]
    sys.stdout.flush()
    os.execvp(command[0], command)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
