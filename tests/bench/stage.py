"""The stage of a bench run: a temporary directory, the authority, agents, the echo server, and their company.

Everything started here is ended by its own pid and the directory is removed, however the run ends.
"""

import contextlib
import json
import os
import pathlib
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

TOKEN_BYTES = 900  # a GetToken reply has the token twice (value and header): about 2 KiB
GET_TOKEN = "org.mltoken.agent.GetToken"
GET_INFO = json.dumps({"method": "org.varlink.service.GetInfo"})
START_TIMEOUT_S = 10
END_TIMEOUT_S = 10
SOFT_FILES = 1024  # what a user's session gives a program; the agent has to help itself to more


class NotMeasured(Exception):
    """A figure could not be taken; the text says why."""


def get_token(profile="bench", **more):
    return json.dumps({"method": GET_TOKEN, "parameters": {"profile": profile} | more}, separators=(",", ":"))


def profile_text(name, authority, secret):
    """`secret`: where the client secret is, as the configuration says it."""
    return (
        f"[profile {name}]\n"
        "grant = client_credentials\n"
        f"authority = {authority}\n"
        "client_id = bench\n"
        f"client_secret = {secret}\n"
        "scope = bench\n\n"
    )


def cpu_ns(pid):
    """CPU time that a process has used, from the scheduler's own count."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


def expect_ready(process, what):
    ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    line = process.stdout.readline().decode() if ready else ""
    if not line.startswith("ready"):
        raise NotMeasured(f"{what} did not start")
    return line.split()[1:]


class Agent:
    """One running mltoken-agent with a socket directory and a configuration of its own."""

    def __init__(self, stage, name, config, **environment):
        self.name = name
        self.config = config
        directory = stage.directory / name / "mltoken"
        directory.mkdir(parents=True, mode=0o700)
        self.socket = directory / "agent.sock"
        self.log = stage.directory / name / "log"
        self.environment = stage.environment | {"MLTOKEN_CONFIG": str(config), "MLTOKEN_SOCK": str(self.socket)} | environment
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [stage.agent_program, "--foreground"], env=self.environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=limit_files)
        stage.stack.callback(end, self.process)
        self.pid = self.process.pid
        self.stage = stage
        self.await_answer()

    def await_answer(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                if self.stage.burst(self, [GET_INFO], START_TIMEOUT_S * 1000, quiet=True)["unanswered"] == 0:
                    return
                raise NotMeasured("GetInfo is not answered")
            except NotMeasured as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise NotMeasured(f"agent {self.name}: {error}; its log: {self.tail()}") from None
                time.sleep(0.02)

    def tail(self):
        return self.log.read_text(errors="replace")[-400:].strip().replace("\n", " | ") or "empty"

    def anonymous_kb(self):
        for line in pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1])
        raise NotMeasured("smaps_rollup has no Anonymous line")

    def warm(self, profile="bench"):
        """Fetches the token that all later calls find in the cache."""
        answer = self.stage.burst(self, [get_token(profile)])
        if answer["tokens"] != 1:
            raise NotMeasured(f"agent {self.name} gives no token for {profile}; its log: {self.tail()}")


def limit_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(SOFT_FILES, hard), hard))


class Stage:
    def __init__(self, build):
        self.build = pathlib.Path(build).resolve()
        self.agent_program = str(self.build / "mltoken-agent")
        self.command_program = str(self.build / "mltoken")
        self.stack = contextlib.ExitStack()
        self.serial = 0

    def __enter__(self):
        # short: a socket's path has 108 bytes
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="mltb.", dir="/tmp"))
        self.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        home = self.directory / "home"
        run = self.directory / "run"
        for path in (home, run):
            path.mkdir(mode=0o700)
        self.environment = {
            "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(home), "XDG_RUNTIME_DIR": str(run),
            "XDG_CONFIG_HOME": str(home / "config"), "XDG_STATE_HOME": str(home / "state"),
            "XDG_CACHE_HOME": str(home / "cache"), "MLTOKEN_NO_AUTOSTART": "1",
        }
        self.secret = self.directory / "secret"
        self.secret.write_text("bench-secret\n")
        self.secret.chmod(0o600)
        self.key = self.directory / "key"
        self.key.write_bytes(os.urandom(32))
        self.key.chmod(0o600)
        return self

    def __exit__(self, *_):
        self.stack.close()

    @contextlib.contextmanager
    def act(self):
        """What is started inside is ended when the act is over."""
        outer = self.stack
        with contextlib.ExitStack() as self.stack:
            try:
                yield
            finally:
                inner, self.stack = self.stack, outer
                inner.close()

    def tool(self, name):
        path = self.build / "bench" / name
        if not path.exists():
            raise NotMeasured(f"{path.name} of tests/bench is not built")
        return str(path)

    def start(self, what, *arguments):
        process = subprocess.Popen([self.tool(what), *map(str, arguments)], stdout=subprocess.PIPE)
        self.stack.callback(end, process)
        return process, expect_ready(process, what)

    def run(self, what, *arguments, data=None, environment=None, timeout=600, quiet=False):
        """Runs one of the programs beside this file and reads the JSON lines that it prints."""
        process = subprocess.Popen(
            [self.tool(what), *map(str, arguments)], stdin=subprocess.PIPE if data else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        try:
            out, err = process.communicate(data, timeout)
        except BaseException:
            end(process)
            raise
        message = err.decode(errors="replace").strip()
        if process.returncode != 0:
            raise NotMeasured(message[-400:] or f"{what} ended with {process.returncode}")
        if message and not quiet:
            print(message)
        return [json.loads(line) for line in out.decode().splitlines()]

    def burst(self, agent, requests, timeout_ms=60000, quiet=False):
        data = b"".join(request.encode() + b"\0" for request in requests)
        return self.run("burst", agent.socket, timeout_ms, data=data, quiet=quiet)[0]

    def load(self, clients, rounds, round_ms, targets, request=None):
        """One run of loadgen; returns its targets by name."""
        arguments = [f"{name}={socket}" for name, socket in targets.items()]
        answer = self.run("loadgen", clients, rounds, round_ms, request or get_token(), *arguments)[0]
        return {target["name"]: target for target in answer["targets"]}

    def authority(self):
        _, (port,) = self.start("authority", TOKEN_BYTES)
        return f"http://127.0.0.1:{port}"

    def agent(self, name, config, **environment):
        if not os.access(self.agent_program, os.X_OK):
            raise NotMeasured("mltoken-agent is not built")
        self.serial += 1
        return Agent(self, f"{name}{self.serial}", config, **environment)

    def echo(self, reply_bytes):
        self.serial += 1
        path = self.directory / f"echo{self.serial}.sock"
        self.start("echo", path, reply_bytes)
        return path

    def hold(self, mode, count, agent, request=None):
        process, _ = self.start("hold", mode, count, agent.socket, *([request] if request else []))
        return process

    def end_hold(self, process):
        """Ends a hold and returns its counts."""
        process.send_signal(signal.SIGTERM)
        return json.loads(process.communicate(timeout=END_TIMEOUT_S)[0].decode().splitlines()[-1])

    def config(self, name, profiles, stored=False, kept=None):
        """Writes a configuration; profiles maps a name to its authority. `stored`: their secrets are in sealed files.
        `kept`: more profiles, whose secrets are in the keyring."""
        path = self.directory / f"{name}.conf"
        text = "[agent]\ndefault_profile = bench\n"
        text += f"store = file\nkey_file = {self.key}\n\n" if stored else "\n"
        secret = "stored" if stored else f"file:{self.secret}"
        text += "".join(profile_text(n, a, secret) for n, a in profiles.items())
        path.write_text(text + "".join(profile_text(n, a, "stored\nstore = keyring") for n, a in (kept or {}).items()))
        path.chmod(0o600)
        return path

    def seal(self, agent, names):
        """Keeps the secret of "bench" in its sealed file, by way of the agent, and puts copies of it for the other names."""
        command = [self.command_program, "secret", "set", "bench", "client_secret"]
        done = subprocess.run(command, input=self.secret.read_text(), env=agent.environment, capture_output=True, text=True,
                              timeout=START_TIMEOUT_S, check=False)
        if done.returncode:
            raise NotMeasured(f"the secret could not be stored: {done.stderr.strip()}")
        folder = pathlib.Path(self.environment["XDG_STATE_HOME"]) / "mltoken"
        for name in names:
            shutil.copy(folder / "bench.sealed", folder / f"{name}.sealed")


def stats(authority):
    with urllib.request.urlopen(f"{authority}/stats", timeout=5) as answer:
        return json.load(answer)
