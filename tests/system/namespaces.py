"""Namespaces of the tests' own: places of the file system and addresses that are fixed, for one program alone."""

import contextlib
import ctypes
import os
import shlex
import socket
import stat
import subprocess
import threading

from mounts import in_mounts

CLONE_NEWNET = 0x40000000


class Net:
    """A network namespace with loopback and 169.254.169.254 in it, and nothing else. Needs root."""

    def __init__(self, addresses=("169.254.169.254",)):
        words = "".join(f"ip addr add {a}/32 dev lo; " for a in addresses)
        self.holder = subprocess.Popen(["unshare", "-n", "sh", "-c", f"set -e; ip link set lo up; {words}echo; read x"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == b"\n", "no network namespace can be made here"
        self.opened = []

    def prefix(self):
        """The beginning of a command line that runs in it."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]

    def listen(self, address, port, backlog=None):
        """A socket of it, bound, and listening when a backlog is given. Made by a thread that enters it."""
        made = []

        def make():
            fd = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            assert ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) == 0
            os.close(fd)
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            if backlog is not None:
                sock.listen(backlog)
            made.append(sock)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        self.opened.append(made[0])
        return made[0]

    def deaf(self, address="169.254.169.254", port=80):
        """A port there that answers no SYN: its queue is full."""
        self.listen(address, port, 0)
        fill = "import socket, sys, time\nkept = []\n" \
               "for _ in range(8):\n s = socket.socket(); s.setblocking(False); s.connect_ex((sys.argv[1], int(sys.argv[2])))\n" \
               " kept.append(s)\nprint(flush=True)\ntime.sleep(600)"
        filler = subprocess.Popen([*self.prefix(), "python3", "-c", fill, address, str(port)], stdout=subprocess.PIPE)
        filler.stdout.readline()
        self.opened.append(filler)

    def close(self):
        for one in self.opened:
            if isinstance(one, subprocess.Popen):
                one.kill()
                one.wait()
            else:
                with contextlib.suppress(OSError):
                    one.close()
        self.holder.kill()
        self.holder.wait()


def run_in(home, prefix):
    """The agents of this home run behind a command prefix from now on, around those given before."""
    path = home.agent_program + "-there" if home.agent_program.startswith(home.path) else \
        os.path.join(home.path, "agent-there")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"#!/bin/sh\nexec {shlex.join(prefix)} {shlex.quote(home.agent_program)} \"$@\"\n")
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    home.agent_program = path


def with_folders(**places):
    """A prefix that shows {"/var/opt": DIRECTORY, ...} (with _ for /: var_opt) in a mount namespace."""
    binds = "; ".join(f"mount --bind {shlex.quote(path)} /{place.replace('_', '/')}" for place, path in places.items())
    return in_mounts(binds)
