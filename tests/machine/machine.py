"""The booted machine: what is run in it, as root, as an account, or in a session of a person."""

import functools
import json
import os
import subprocess
import time

import outcome  # of the system tests
from outcome import Result

PATIENCE = 120  # the end of patience, never a measurement
# each look is a program that is executed in the machine
wait_until = functools.partial(outcome.wait_until, timeout=PATIENCE, step=0.1)


class Machine:
    """Owns the container: booted by boot(), gone after stop()."""

    def __init__(self, root):
        self.root = root
        self.console = os.path.join(os.path.dirname(root), "console.log")
        self.process = None
        self.leader = None

    def boot(self):
        """Returns the seconds until the machine called itself running."""
        start = time.monotonic()
        with open(self.console, "ab") as console:
            # IPC_LOCK: without it nspawn forbids mlock() to everyone inside; its users have no such capability
            self.process = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", "--machine=machine", "--register=no", "--keep-unit",
                 "--console=read-only", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--capability=CAP_IPC_LOCK"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"})
        wait_until(self._is_up, step=0.02)
        took = time.monotonic() - start
        # nspawn lays an unlinked file over it, and nothing can be mounted over that: ProtectKernelLogs= would fail
        self.run("umount", "/proc/kmsg").ok()
        return took

    def _is_up(self):
        """The machine is up."""
        if self.process.poll() is not None:
            with open(self.console, encoding="utf-8", errors="replace") as f:
                raise AssertionError(f"the machine ended with {self.process.returncode}:\n{f.read()}")
        for child in subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False).stdout.split():
            self.leader = child
            state = self.run("systemctl", "is-system-running")
            if state.out.strip() == "running":
                return True
            if state.out.strip() == "degraded":
                raise AssertionError(self.run("systemctl", "--failed", "--no-pager").out)
        return False

    def stop(self):
        if self.process and self.process.poll() is None:
            self.run("systemctl", "poweroff")
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = self.leader = None

    def reboot(self):
        self.stop()
        return self.boot()

    def run(self, *args, input=None, timeout=120):
        """As root."""
        done = subprocess.run(["nsenter", f"--target={self.leader}", "--all", *args], input=input, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL if input is None else None, timeout=timeout, check=False,
                              env={"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "LANG": "C.UTF-8", "TERM": "dumb"})
        return Result(done.returncode, done.stdout, done.stderr)

    def as_account(self, name, *args, **more):
        """As an administrator would try it: the account's uid, no session, nothing set."""
        return self.run("runuser", "-u", name, "--", *args, **more)

    def in_session(self, name, *args, env=None, **more):
        """In a session of its own, through PAM, as login makes one; it ends with the command."""
        settings = [f"--setenv={k}={v}" for k, v in (env or {}).items()]
        return self.run("systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--property=User={name}", "--property=PAMName=login",
                        "--property=WorkingDirectory=~", *settings, "--", *args, **more)

    def ask_raw(self, path):
        """What an agent answers to root, whom its directory does not keep out."""
        return self.run("python3", "-c", RAW, path).ok().out

    def write(self, path, text, owner="root", mode="0600"):
        for folder in reversed([p for p in parents(path)]):
            self.run("sh", "-c", f'[ -d "$1" ] || install -d -o {owner} -g {owner} -m 0755 "$1"', "sh", folder).ok()
        self.run("install", "-o", owner, "-g", owner, "-m", mode, "/dev/stdin", path, input=text).ok()
        return path

    def read(self, path):
        return self.run("cat", path).ok().out

    def exists(self, path):
        return self.run("test", "-e", path).code == 0

    def journal(self, *matches):
        """The whole journal as journalctl's objects."""
        self.run("journalctl", "--sync").ok()
        lines = self.run("journalctl", "--no-pager", "--quiet", "--all", "--output=json", *matches).out.splitlines()
        return [json.loads(line) for line in lines]

    def account(self, name, system=False):
        if self.run("id", name).code != 0:
            self.run("useradd", *(["--system", "--home-dir", "/nonexistent"] if system else ["--create-home", "--shell", "/bin/bash"]), name).ok()
        return Account(self, name, int(self.run("id", "-u", name).ok().out))

    def unit(self, name, prop, user=None):
        command = ["systemctl", *(["--user"] if user else []), "show", "--value", f"--property={prop}", name]
        return (self.in_session(user, *command) if user else self.run(*command)).ok().out.strip()


class Account:
    """A person with sessions, whose home is made; or a service's."""

    def __init__(self, machine, name, uid):
        self.machine, self.name, self.uid = machine, name, uid
        self.home = f"/home/{name}"
        self.socket = f"/run/user/{uid}/mltoken/agent.sock"

    def __call__(self, *args, **more):
        return self.machine.in_session(self.name, *args, **more)

    def mltoken(self, *args, **more):
        return self("mltoken", *args, **more)

    def write(self, name, text, mode="0600"):
        return self.machine.write(f"{self.home}/{name}", text, self.name, mode)

    def config(self, profiles, **agent):
        return self.write(".config/mltoken/config", config_text(profiles, **agent))

    def drop_in(self, name, text, unit="mltoken-agent.service"):
        self.write(f".config/systemd/user/{unit}.d/{name}", text, "0644")
        self("systemctl", "--user", "daemon-reload").ok()

    def linger(self):
        """The account's manager runs from now on, with no session."""
        self.machine.run("loginctl", "enable-linger", self.name).ok()
        wait_until(lambda: self.machine.run("systemctl", "is-active", f"user@{self.uid}.service").out.strip() == "active")

    def clean(self):
        """Ends whatever it runs and forgets what it wrote."""
        self.machine.run("loginctl", "disable-linger", self.name)
        self.machine.run("loginctl", "terminate-user", self.name)
        self.machine.run("systemctl", "stop", f"user@{self.uid}.service").ok()
        self.machine.run("sh", "-c", f"rm -rf {self.home}/.config {self.home}/.local {self.home}/keys").ok()

    def agents(self):
        """The agents that run for it, without the processes of their own."""
        lines = self.machine.run("ps", "-u", str(self.uid), "-o", "pid=,ppid=,args=").out.splitlines()
        found = {pid: ppid for pid, ppid, args in (line.split(None, 2) for line in lines) if os.path.basename(args.split()[0]) == "mltoken-agent"}
        return [int(pid) for pid, ppid in found.items() if ppid not in found]


# Whatever the command would say first, this asks.
RAW = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(120)
s.connect(sys.argv[1])
try:
    s.sendall(b'{"method":"org.mltoken.agent.GetToken","parameters":{"profile":"p"}}\\0')
    print(s.recv(65536))
except (BrokenPipeError, ConnectionResetError):
    print(b"")
"""


def parents(path):
    while (path := os.path.dirname(path)) not in ("", "/"):
        yield path


def config_text(profiles, **agent):
    sections = [("[agent]", agent)] if agent else []
    sections += [(f"[profile {name}]", keys) for name, keys in profiles.items()]
    return "\n".join(head + "\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for head, keys in sections)
