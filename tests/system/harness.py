"""What the system tests share: a home of their own, the agent, the command, and a raw client of the socket."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import outcome
from outcome import PATIENCE, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("MLTOKEN_BUILD", os.path.join(ROOT, "build")))
INTERFACE = "org.mltoken.agent"
SANITIZER = re.compile(r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|UndefinedBehaviorSanitizer|"
                       r"runtime error:)")


def program(name):
    return os.path.join(BUILD, name)


def rests(count, seconds=2.5):
    """Waits until count() has stayed the same for so many seconds: what goes on for ever never rests."""
    last = [count(), time.monotonic()]

    def same():
        now = count()
        if now != last[0]:
            last[:] = now, time.monotonic()
        return time.monotonic() - last[1] >= seconds

    wait_until(same, step=0.1)


def in_a_row(connection, profile, seconds=4):
    """Asks without a pause; how many seconds it took, and (when it was asked, the token) of each answer. On a slow machine a
    token may have ended before it came, and that is all that may be wrong."""
    began, found = time.monotonic(), []
    while time.monotonic() - began < seconds or not found:
        asked = time.time()
        try:
            found.append((asked, connection.token(profile)))
        except VarlinkError as error:
            assert "took longer to answer than its token lives" in str(error) or error.parameters.get("retryAt"), error
        time.sleep(0.02)
    return time.monotonic() - began, found


class Result(outcome.Result):
    """What the command did: it says what failed in one line."""

    def failed(self, code):
        err = super().failed(code)
        assert err.endswith("\n") and err.count("\n") == 1, f"not one line: {err!r}"
        return err


def service(authority, home, client="svc", secret=None, base=None, **more):
    """A client_credentials profile of a client of the scripted authority."""
    known = authority.client(client)
    path = home.secret(known.secret if secret is None else secret, "secret-" + re.sub(r"\W", "_", client))
    return {"grant": "client_credentials", "authority": base or authority.oidc, "client_id": client,
            "client_secret": path, "scope": "api", **more}


def person(authority, client="device", base=None, **more):
    """A device_code profile."""
    return {"grant": "device_code", "authority": base or authority.oidc, "client_id": client,
            "scope": "openid offline_access", **more}


class Home:
    """A person's directories, alone in a temporary one. Owns the files and removes them."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="mlt-")
        self.home = self._dir("home")
        self.runtime = self._dir("run")
        self.config_dir = self._dir("home/.config")
        self.state = self._dir("home/.local/state")
        self.config_path = os.path.join(self.config_dir, "mltoken", "config")
        self.socket = os.path.join(self.runtime, "mltoken", "agent.sock")
        self.get_socket = os.path.join(self.runtime, "mltoken", "get.sock")
        self.known_secrets = []
        self.agent_program = program("mltoken-agent")

    def stores(self, *names):
        """An agent of our own, with stores of the tests beside it. Returns their directory."""
        directory = self._dir("bin")
        if not self.agent_program.startswith(directory):
            self.agent_program = os.path.join(directory, "mltoken-agent")
            for name in ("mltoken-agent", "mltoken-agent-main"):
                shutil.copy(program(name), directory)
        for name in names:
            shutil.copy(os.path.join(HERE, "store_program.py"), os.path.join(directory, "mltoken-store-" + name))
        return directory

    def impatient(self, *programs):
        """An agent of our own whose store programs have seconds where others have minutes (impatient.h), and those programs
        beside it."""
        make = ["make", "-s", "-C", ROOT, "BUILD=" + BUILD, "impatient"]
        subprocess.run([*make, "SAN=" + os.environ["MLTOKEN_SAN"]] if os.environ.get("MLTOKEN_SAN") else make, check=True)
        directory = self.stores()
        shutil.copy(program("impatient/mltoken-agent-main"), directory)
        for name in programs:
            shutil.copy(program(name), directory)

    def _dir(self, name):
        path = os.path.join(self.path, name)
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.chmod(path, 0o700)
        return path

    def env(self, **more):
        """The environment of programs here; None removes a name."""
        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": self.home, "LANG": "C.UTF-8", "TZ": "UTC",
               "USER": "tester", "XDG_CONFIG_HOME": self.config_dir, "XDG_STATE_HOME": self.state,
               "XDG_RUNTIME_DIR": self.runtime, "MLTOKEN_NO_AUTOSTART": "1", "LD_LIBRARY_PATH": BUILD}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                env[name] = os.environ[name]
        env.update(more)
        return {k: v for k, v in env.items() if v is not None}

    def write(self, name, text, mode=0o600):
        """A file below the home; returns its path."""
        path = os.path.join(self.home, name)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path + ".new", "w", encoding="utf-8", newline="") as f:
            os.fchmod(f.fileno(), mode)
            f.write(text)
        os.rename(path + ".new", path)
        return path

    def secret(self, value, name="secret"):
        """A secret's file, as a value for client_secret."""
        self.known_secrets.append(value)
        return "file:" + self.write("secrets/" + name, value + "\n")

    def config(self, profiles=None, agent=None, text=None, mode=0o600):
        """Writes the configuration: {profile: {key: value}}, or text as it is."""
        if text is None:
            sections = [("[agent]", agent)] if agent else []
            sections += [(f"[profile {name}]", keys) for name, keys in (profiles or {}).items()]
            text = "\n".join(head + "\n" + "".join(f"{k} = {v}\n" for k, v in keys.items() if v is not None)
                             for head, keys in sections)
        return self.write(os.path.relpath(self.config_path, self.home), text, mode)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class AgentFailure(AssertionError):
    """The agent crashed, or a sanitizer spoke."""


def memory_has(pid, needle):
    """The readable, writable mapping of a process that has the bytes, or None (needs root)."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            bounds, mode = line.split()[:2]
            if not mode.startswith("rw"):
                continue
            start, end = (int(x, 16) for x in bounds.split("-"))
            try:
                mem.seek(start)
                if needle in mem.read(end - start):
                    return line.strip()
            except (OSError, ValueError, OverflowError):
                continue
    return None


class Agent:
    """One mltoken-agent in the foreground. Its stderr goes to a file."""

    def __init__(self, home, args=("--foreground", "--debug"), **env):
        self.home, self.args = home, list(args)
        self.environment = home.env(**env)
        self.socket = self.environment.get("MLTOKEN_SOCK") or home.socket
        self.log_path = os.path.join(home.path, f"agent-{time.monotonic_ns()}.log")
        self.process = None
        self.expect_exit = None

    def start(self, wait=True):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([self.home.agent_program, *self.args], env=self.environment, cwd="/",
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait_ready()
        return self

    @property
    def pid(self):
        return self.process.pid

    def wait_ready(self):
        end = time.monotonic() + PATIENCE
        while True:
            if self.process.poll() is not None:
                raise AgentFailure(f"the agent ended with {self.process.returncode}:\n{self.log()}")
            try:
                with Varlink(self.socket, timeout=PATIENCE) as v:
                    v.call("org.varlink.service.GetInfo")
                return
            except (OSError, EOFError):
                if time.monotonic() > end:
                    raise AgentFailure(f"no answer on {self.socket}:\n{self.log()}") from None
                time.sleep(0.01)

    def alive(self):
        return self.process.poll() is None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def varlink(self, **args):
        return Varlink(self.socket, **args)

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def anonymous_kib(self):
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as f:
            return int(re.search(r"^Anonymous:\s+(\d+) kB", f.read(), re.M).group(1))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory_has(self, needle):
        return memory_has(self.pid, needle)

    def stop(self, check=True):
        """SIGTERM, then the exit status; fails on a crash or a sanitizer's report."""
        if self.process is None:
            return None
        died = self.process.poll()
        if died is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AgentFailure(f"the agent did not end within {PATIENCE} s of SIGTERM:\n{self.log()}") from None
        code, self.process = self.process.returncode, None
        if check:
            wanted = 0 if self.expect_exit is None else self.expect_exit
            if died is not None and self.expect_exit is None:
                raise AgentFailure(f"the agent had ended by itself with {died}:\n{self.log()}")
            if code != wanted or SANITIZER.search(self.log()):
                raise AgentFailure(f"the agent ended with {code}:\n{self.log()}")
        return code


class VarlinkError(Exception):
    """An error reply. name is without the interface."""

    def __init__(self, reply):
        self.full = reply["error"]
        self.name = self.full.rpartition(".")[2]
        self.parameters = reply.get("parameters") or {}
        super().__init__(f"{self.full} {json.dumps(self.parameters)}")


class Varlink:
    """A connection to the agent that can also say what no client should."""

    def __init__(self, path, timeout=PATIENCE):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.buffer = b""
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, method, parameters=None, **flags):
        if "." not in method:
            method = f"{INTERFACE}.{method}"
        message = {"method": method, "parameters": parameters or {}, **flags}
        self.raw(json.dumps(message).encode() + b"\0")

    def raw(self, data):
        self.socket.sendall(data)

    def receive(self):
        """The next reply as it is; EOFError when the agent closed."""
        while b"\0" not in self.buffer:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError("closed by the agent")
            self.buffer += data
        reply, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(reply)

    def closed(self):
        """Waits for the end of the connection; True when it came without a reply."""
        try:
            self.receive()
            return False
        except (EOFError, ConnectionResetError):
            return True

    def reply(self):
        """The parameters of the next reply; raises VarlinkError."""
        reply = self.receive()
        if "error" in reply:
            raise VarlinkError(reply)
        return reply.get("parameters", {})

    def call(self, method, _flags=None, **parameters):
        self.send(method, parameters, **(_flags or {}))
        return self.reply()

    def error(self, method, **parameters):
        """The VarlinkError of a call that must fail."""
        try:
            found = self.call(method, **parameters)
        except VarlinkError as error:
            return error
        raise AssertionError(f"{method} succeeded: {found}")

    def more(self, method, **parameters):
        """Replies of a call with `more`, one after the other, until the last."""
        self.send(method, parameters, more=True)
        while True:
            reply = self.receive()
            if "error" in reply:
                raise VarlinkError(reply)
            yield reply.get("parameters", {})
            if not reply.get("continues"):
                return

    def token(self, profile, **parameters):
        return self.call("GetToken", profile=profile, **parameters)["token"]


class Command:
    """Runs the built `mltoken` in a home."""

    def __init__(self, home):
        self.home = home
        self.running = []

    def __call__(self, *args, input=None, timeout=60, env=None, cwd=None):
        done = subprocess.run([program("mltoken"), *args], env=self.home.env(**(env or {})), input=input, text=True,
                              encoding="utf-8", errors="surrogateescape", capture_output=True, timeout=timeout, cwd=cwd,
                              stdin=subprocess.DEVNULL if input is None else None)
        assert not SANITIZER.search(done.stderr), done.stderr
        assert done.returncode >= 0, f"killed by signal {-done.returncode}: {args} {done.stderr}"
        return Result(done.returncode, done.stdout, done.stderr)

    def start(self, *args, env=None, **popen):
        """A command that runs on; ended with the test if it has not."""
        popen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **popen}
        process = subprocess.Popen([program("mltoken"), *args], env=self.home.env(**(env or {})), **popen)
        self.running.append(process)
        return process

    def finish(self, process, timeout=PATIENCE):
        out, err = process.communicate(timeout=timeout)
        assert not SANITIZER.search(err or ""), err
        return Result(process.returncode, out, err)

    def login(self, authority, profile, user="alice", deny=False, *args):
        """A whole sign-in: starts it, decides in the authority, returns the Result."""
        before = len(authority.device_codes())
        process = self.start("login", profile, "--json", *args)
        wait_until(lambda: len(authority.device_codes()) > before or process.poll() is not None)
        if len(authority.device_codes()) > before:
            code = authority.device_codes()[-1].user_code
            (authority.deny if deny else authority.approve)(code, user)
        return self.finish(process)

    def end(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.communicate()
