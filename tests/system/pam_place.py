"""A host of the tests' own for PAM: /etc, /home, /run, /usr/local, the system's log, processes and loopback are private to
namespaces of it. Programs run there as root or as its people; nothing of the real machine is written to. Needs root."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import pexpect
import pytest
from harness import BUILD, PATIENCE, ROOT, Result, wait_until
from namespaces import Net

PEOPLE = {"mlt-alice": 2001, "mlt-bob": 2002, "mlt-carol": 2003}
HELPER = ("_mltoken", 990)
ROOT_PASSWORD, PASSWORD = "root's own word", "a local word"
SSH_PORT = 22
HTTPS_PORT = 443
SECURITY = next((d for d in ("/lib/x86_64-linux-gnu/security", "/lib/aarch64-linux-gnu/security", "/lib/security") if os.path.isdir(d)), "/lib/security")
PROGRAMS = ("/usr/sbin/sshd", "/usr/bin/pamtester", "/usr/bin/ssh", "/usr/bin/ssh-keygen")

# What the first process of the place does: the mounts, then it reaps whatever is left to it, until its input ends.
FIRST = r"""
set -e
top=$1 security=$2
shift 2
mount -t tmpfs -o mode=0755 tmpfs "$top"
cp -a /etc "$top/etc"
cp -a "$security" "$top/security"
mkdir -m 0755 "$top/home" "$top/run" "$top/log" "$top/dev" "$top/local" "$top/dev/shm"
mkdir -m 0700 "$top/roots"
mkdir -m 1777 "$top/tmp"
for name in null zero full random urandom tty; do
    : > "$top/dev/$name"; mount --bind "/dev/$name" "$top/dev/$name"
done
mkdir "$top/dev/pts"; mount --rbind /dev/pts "$top/dev/pts"
ln -s /proc/self/fd "$top/dev/fd"; ln -s pts/ptmx "$top/dev/ptmx"
mount --bind "$top/etc" /etc
mount --bind "$top/security" "$security"
mount --bind "$top/home" /home
mount --bind "$top/roots" /root
mount --bind "$top/run" /run
mount --bind "$top/log" /var/log
mount --bind "$top/local" /usr/local
mount --rbind "$top/dev" /dev
mount --bind "$top/tmp" /tmp
ip link set lo up
exec /usr/bin/python3 -c 'import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.write(1, b"\n")
sys.stdin.read()'
"""


def why_not():
    """The reason for which no such place can be made here, or None."""
    if os.geteuid() != 0:
        return "needs root: sshd, su and login are started, and become other users"
    missing = [p for p in PROGRAMS if not os.path.exists(p)]
    if missing:
        return "not installed: " + ", ".join(missing)
    made = subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc", "true"], stderr=subprocess.PIPE, text=True, check=False)
    return None if made.returncode == 0 else "no namespaces can be made here: " + made.stderr.strip()


class SystemLog:
    """What its programs send to /dev/log. A thread of its own takes it."""

    def __init__(self, path):
        self.lines = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        os.chmod(path, 0o666)
        self.thread = threading.Thread(target=self._take, daemon=True)
        self.thread.start()

    def _take(self):
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except OSError:
                return
            if not data:
                return
            self.lines.append(re.sub(rb"^<\d+>", b"", data).decode("utf-8", "backslashreplace"))

    def text(self):
        return "\n".join(self.lines)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE)
        self.socket.close()


def children(pid):
    """Of a process, by number."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
            found += [int(c) for c in f.read().split()]
    return found


def finish(one):
    """Ends what runs in a place, and lets go of it."""
    if isinstance(one, subprocess.Popen):
        one.kill()
        one.wait()
        for pipe in (one.stdin, one.stdout, one.stderr):
            if pipe is not None:
                pipe.close()
    else:
        one.close(force=True)


class Place(Net):
    """Made once, then reset() for each test. pid is its first process, as we see it."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="mlt-pam-")
        os.chmod(self.directory, 0o755)
        top = os.path.join(self.directory, "top")
        os.mkdir(top)
        self.holder = subprocess.Popen(["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc",
                                        "sh", "-c", FIRST, "sh", top, SECURITY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.opened, self.running = [], []
        assert self.holder.stdout.readline() == b"\n", "the place could not be made"
        self.pid = children(self.holder.pid)[0]
        self.log = SystemLog(self.path("/dev/log"))
        self._install()
        self._people()
        self.sshd = None
        self.debian = {name: self.read("/etc/pam.d/" + name) for name in self.listdir("/etc/pam.d")}

    # Making it

    def _install(self):
        """What make install gives, at its places."""
        tree = os.path.join(self.directory, "tree")
        subprocess.run(["make", "-s", "-C", ROOT, "install", f"BUILD={BUILD}", f"DESTDIR={tree}",
                        *([f"SAN={os.environ['MLTOKEN_SAN']}"] if os.environ.get("MLTOKEN_SAN") else [])],
                       check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        shutil.copytree(tree + "/usr/local", self.path("/usr/local"), dirs_exist_ok=True, symlinks=True)
        module = os.path.join(BUILD, "pam_mltoken.so")
        if os.environ.get("MLTOKEN_SAN"):  # sshd and su were built without, and cannot load one; its programs are as they are
            module = os.path.join(BUILD, "plain", "pam_mltoken.so")
            subprocess.run(["make", "-s", "-C", ROOT, "SAN=", f"BUILD={BUILD}/plain", module], check=True, stdin=subprocess.DEVNULL)
        shutil.copy(module, self.path(SECURITY))

    def _people(self):
        def hashed(password):
            return subprocess.run(["openssl", "passwd", "-6", password], check=True, capture_output=True, text=True).stdout.strip()

        local = hashed(PASSWORD)
        self.append("/etc/passwd", "".join(f"{n}:x:{u}:{u}::/home/{n}:/bin/bash\n" for n, u in PEOPLE.items()))
        self.append("/etc/group", "".join(f"{n}:x:{u}:\n" for n, u in PEOPLE.items()))
        self.append("/etc/shadow", "".join(f"{n}:{local}:19000:0:99999:7:::\n" for n in PEOPLE))
        if not re.search(rf"^{HELPER[0]}:", self.read("/etc/passwd"), re.M):
            self.append("/etc/passwd", f"{HELPER[0]}:x:{HELPER[1]}:{HELPER[1]}::/nonexistent:/usr/sbin/nologin\n")
            self.append("/etc/group", f"{HELPER[0]}:x:{HELPER[1]}:\n")
            self.append("/etc/shadow", f"{HELPER[0]}:!:19000::::::\n")
        lines = self.read("/etc/shadow").splitlines()
        self.write("/etc/shadow", "\n".join(f"root:{hashed(ROOT_PASSWORD)}:19000:0:99999:7:::" if line.startswith("root:") else line
                                             for line in lines) + "\n", mode=0o600)
        for name, uid in PEOPLE.items():
            for folder in (f"/home/{name}", f"/run/user/{uid}"):
                os.makedirs(self.path(folder), exist_ok=True)
                os.chown(self.path(folder), uid, uid)
                os.chmod(self.path(folder), 0o700)
        os.makedirs(self.path("/run/sshd"), mode=0o755)
        os.makedirs(self.path("/etc/mltoken"), mode=0o755, exist_ok=True)
        os.chmod(self.path("/etc/mltoken"), 0o755)
        for log in ("wtmp", "btmp", "lastlog"):
            self.write("/var/log/" + log, "", mode=0o600)
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/ssh_host_mlt").ok()

    # Its files

    def path(self, inside):
        """How we reach a file of it."""
        return f"/proc/{self.pid}/root{inside}"

    def read(self, path):
        with open(self.path(path), encoding="utf-8", errors="surrogateescape") as f:
            return f.read()

    def exists(self, path):
        return os.path.lexists(self.path(path))

    def write(self, path, text, mode=0o644, owner=0, group=None):
        new = self.path(path) + ".new"
        with open(new, "w", encoding="utf-8", errors="surrogateescape") as f:
            os.fchown(f.fileno(), owner, owner if group is None else group)
            os.fchmod(f.fileno(), mode)
            f.write(text)
        os.rename(new, self.path(path))
        return path

    def append(self, path, text):
        with open(self.path(path), "a", encoding="utf-8") as f:
            f.write(text)

    def listdir(self, path):
        return sorted(os.listdir(self.path(path))) if self.exists(path) else []

    def helper_gid(self):
        return int(re.search(rf"^{HELPER[0]}:[^:]*:(\d+)", self.read("/etc/group"), re.M).group(1))

    # Its programs

    def prefix(self, user=None, terminal=False):
        words = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--wd=/"]
        if terminal:  # only root may take one that was another session's
            words += ["setsid", "--ctty", "--wait"]
        if user is not None:
            uid = PEOPLE.get(user, user)
            words += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
        return words

    @staticmethod
    def env(**more):
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "TERM": "dumb"}
        env.update({k: os.environ[k] for k in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS") if k in os.environ})
        env.update(more)
        return {k: v for k, v in env.items() if v is not None}

    def run(self, *args, user=None, env=None, input=None, timeout=120):
        done = subprocess.run([*self.prefix(user), *args], input=input, text=True, capture_output=True, timeout=timeout, check=False,
                              stdin=subprocess.DEVNULL if input is None else None, env=self.env(**(env or {})))
        return Result(done.returncode, done.stdout, done.stderr)

    def popen(self, *args, user=None, env=None, **more):
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
        process = subprocess.Popen([*self.prefix(user), *args], env=self.env(**(env or {})), **more)
        self.running.append(process)
        return process

    def terminal(self, *args, user=None, env=None, timeout=60):
        """On a pseudoterminal of its own, which is the controlling one of the program; `env` is the program's alone."""
        command = [*self.prefix(user, terminal=True), *(["/usr/bin/env", *(f"{k}={v}" for k, v in env.items())] if env else []), *args]
        child = pexpect.spawn(command[0], command[1:], env=self.env(), timeout=timeout, encoding="utf-8",
                              codec_errors="backslashreplace", dimensions=(50, 200))
        child.delaybeforesend = None
        self.running.append(child)
        return child

    def processes(self, name=None):
        """Those of this place (of this name) but its first, as we see them."""
        space, found = os.readlink(f"/proc/{self.pid}/ns/pid"), []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if int(pid) == self.pid or os.readlink(f"/proc/{pid}/ns/pid") != space:
                    continue
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                    comm, _, rest = f.read().partition("(")[2].rpartition(")")
                if rest.split()[0] != "Z" and (name is None or name[:15] == comm):
                    found.append(int(pid))
        return found

    def kill(self, name=None, number=signal.SIGKILL):
        for pid in self.processes(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    # sshd

    def start_sshd(self, *lines):
        """With these lines before its own."""
        self.stop_sshd()
        self.write("/etc/ssh/mlt_sshd_config", "\n".join([
            *lines, f"ListenAddress 0.0.0.0:{SSH_PORT}", "HostKey /etc/ssh/ssh_host_mlt", "PidFile none", "UsePAM yes", "StrictModes yes",
            "KbdInteractiveAuthentication yes", "PermitRootLogin yes", "PrintMotd no", "PrintLastLog no", "UseDNS no", "LogLevel VERBOSE",
            "MaxStartups 100", "MaxSessions 100"]) + "\n")
        started = len(self.log.lines)
        self.sshd = self.popen("/usr/sbin/sshd", "-D", "-f", "/etc/ssh/mlt_sshd_config", stdout=subprocess.DEVNULL)
        wait_until(lambda: self.sshd.poll() is not None or any("Server listening" in line for line in self.log.lines[started:]))
        assert self.sshd.poll() is None, self.sshd.stderr.read()

    def stop_sshd(self):
        if self.sshd is not None:
            self.kill("sshd")
            finish(self.sshd)
            self.sshd = None

    # The end

    def stop_programs(self):
        """All of them."""
        wait_until(lambda: self.kill() or not self.processes())  # one may have been forking
        for one in self.running:
            finish(one)
        self.running, self.sshd = [], None

    def reset(self):
        """As new, but for what is installed."""
        self.stop_programs()
        for folder in ("/run/mltoken", *(f"/home/{name}" for name in PEOPLE), *(f"/run/user/{uid}" for uid in PEOPLE.values())):
            for name in self.listdir(folder):
                path = self.path(f"{folder}/{name}")
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        self.log.lines.clear()

    def close(self):
        self.stop_programs()
        super().close()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def make_place():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    return Place()
