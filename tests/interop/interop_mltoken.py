"""Our built programs with a home of their own: configuration, agent, command. Everything as a user has it, by the
contract alone: nothing here knows how they are made."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

START_TIMEOUT_S = 20
COMMAND_TIMEOUT_S = 60
LOGIN_TIMEOUT_S = 90


def build_dir():
    root = pathlib.Path(__file__).resolve().parents[2]
    return pathlib.Path(os.environ.get("MLTOKEN_BUILD") or root / "build").resolve()


class Home:
    """A user: HOME, a runtime directory, a configuration, an agent that this object starts and stops by its pid."""

    def __init__(self):
        # short, for a socket's path is
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="mlti"))
        self.runtime = self.path / "run"
        self.runtime.mkdir(mode=0o700)
        self.config = self.path / ".config" / "mltoken" / "config"
        self.config.parent.mkdir(mode=0o700, parents=True)
        self.log = self.path / "agent.log"
        self.env = {"PATH": "/usr/bin:/bin", "HOME": str(self.path), "XDG_RUNTIME_DIR": str(self.runtime),
                    "LANG": "C.UTF-8", "TZ": "UTC", "MLTOKEN_NO_AUTOSTART": "1"}
        self.text = ""
        self.secrets = []  # must never be seen again
        self.tokens = set()  # that `get` printed: must not stand in a log
        self.agent = None

    def profile(self, name, authority, client, grant, scope, **more):
        """client: (id, secret) or the id of a public client."""
        lines = {"grant": grant, "authority": authority.issuer, "scope": scope}
        if isinstance(client, tuple):
            secret = self.path / f"{name}.secret"
            secret.touch(mode=0o600)
            secret.write_text(client[1])
            self.secrets.append(client[1])
            lines.update(client_id=client[0], client_secret=f"file:{secret}")
        else:
            lines.update(client_id=client, client_auth="none")
        lines.update(more)
        self.text += f"[profile {name}]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()) + "\n"

    def start(self):
        self.config.touch(mode=0o600)
        self.config.write_text(self.text)
        with open(self.log, "ab") as log:
            self.agent = subprocess.Popen([build_dir() / "mltoken-agent"], env=self.env, cwd="/", stdout=log, stderr=log,
                                          stdin=subprocess.DEVNULL)
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            assert self.agent.poll() is None, f"the agent ended:\n{self.log.read_text()}"
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.runtime / "mltoken" / "agent.sock"))
                return self
            time.sleep(0.02)
        raise AssertionError(f"the agent does not listen:\n{self.log.read_text()}")

    def stop(self):
        """Ends the agent and checks what it wrote: no secret, at whatever level it logs."""
        if self.agent:
            if self.agent.poll() is None:
                self.agent.send_signal(signal.SIGTERM)
            try:
                self.agent.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.agent.kill()
                self.agent.wait()
                raise
        written = self.log.read_text(errors="replace") if self.log.exists() else ""
        shutil.rmtree(self.path)
        for secret in (*self.secrets, *self.tokens):
            assert secret not in written, "a secret stands in the agent's log"
        if self.agent:
            assert self.agent.returncode == 0, f"the agent ended with {self.agent.returncode}:\n{written}"

    def run(self, *args, stdin=""):
        done = subprocess.run([build_dir() / "mltoken", *args], env=self.env, input=stdin, capture_output=True, text=True,
                              timeout=COMMAND_TIMEOUT_S)
        for secret in self.secrets:
            assert secret not in done.stdout + done.stderr
        return done

    def ok(self, *args, stdin=""):
        done = self.run(*args, stdin=stdin)
        assert done.returncode == 0, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def fails(self, code, *args, stdin=""):
        """The one line that says why."""
        done = self.run(*args, stdin=stdin)
        codes = code if isinstance(code, tuple) else (code,)
        assert done.returncode in codes, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.stderr.strip()

    def get(self, *args):
        out = self.ok("get", *args)
        assert out.endswith("\n") and out.count("\n") == 1, repr(out)
        self.tokens.add(out[:-1].removeprefix("Authorization: Bearer "))
        return out[:-1]

    def login(self, name, person):
        """`mltoken login --json`; person(prompt) does what is to be done at the browser. Exit code, the objects, stderr."""
        command = subprocess.Popen([build_dir() / "mltoken", "login", "--json", name], env=self.env, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        watchdog = threading.Timer(LOGIN_TIMEOUT_S, command.kill)
        watchdog.start()
        said = []
        try:
            for line in command.stdout:
                said.append(json.loads(line))
                prompt = said[-1].get("prompt")
                if prompt:
                    person({"verification_uri": prompt["verificationUri"], "user_code": prompt["userCode"],
                            "verification_uri_complete": prompt["verificationUriComplete"]})
            stderr = command.stderr.read()
            return command.wait(), said, stderr
        finally:
            watchdog.cancel()
            command.kill()
            command.wait()
            command.stdout.close()
            command.stderr.close()

    def sign_in(self, name, authority, client_id=None, **how):
        code, said, stderr = self.login(
            name, lambda prompt: authority.browse(prompt, client_id=client_id or authority.public, **how))
        assert code == 0, f"login {name}: exit {code}\n{said}\n{stderr}"
        assert [one["state"] for one in said] == ["prompt", "done"], said
        return said[-1]
