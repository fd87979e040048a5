"""A desktop's keyring for the bench: a session bus of its own with a real gnome-keyring, by the fixtures of the system
tests; and somebody who asks for a token that needs it, for as long as a measurement takes."""

import contextlib
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

from stage import NotMeasured

SYSTEM = pathlib.Path(__file__).resolve().parents[1] / "system"


class Keyring:
    """An open keyring; what was started for it ends with the act."""

    def __init__(self, stage, session):
        self.stage, self.session = stage, session
        self.environment = {"DBUS_SESSION_BUS_ADDRESS": session.address}
        self.prompter = None

    def keep_secret(self, agent, profile):
        done = subprocess.run([self.stage.command_program, "secret", "set", profile], input=b"bench-secret\n",
                              env=agent.environment, capture_output=True, timeout=60, check=False)
        if done.returncode != 0:
            raise NotMeasured(f"mltoken secret set: {done.stderr.decode(errors='replace')}")

    def stop(self):
        self.session.keyring.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.session.keyring.send_signal(signal.SIGCONT)

    def lock(self):
        """A person looks at the window, and does nothing."""
        self.session.lock()
        self.prompter = self.session.prompter("wait")

    def close(self):
        self.prompter.kill()
        self.prompter.wait()


def open_keyring(stage):
    sys.path.insert(0, str(SYSTEM))
    try:
        import harness
        import keyring_session
    except (ImportError, ValueError) as error:
        raise NotMeasured(f"a real keyring is started with python3-gi: {error}") from error
    finally:
        sys.path.remove(str(SYSTEM))
    home = harness.Home()
    stage.stack.callback(home.remove)
    session = keyring_session.Session(home)
    stage.stack.callback(session.end)
    try:
        session.start_keyring()
    except FileNotFoundError as error:
        raise NotMeasured(f"no keyring: {error}") from error
    return Keyring(stage, session)


class Asking:
    """Asks an agent for a token that it cannot have now, again whenever it is told so. Afterwards `waited` is how much of
    the time a request was under way, and `last` what the last answer was."""

    def __init__(self, agent, request):
        self.path, self.request = str(agent.socket), request.encode() + b"\0"
        self.waited, self.last = 0.0, ""
        self.over = threading.Event()
        self.connection = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def ask(self):
        with socket.socket(socket.AF_UNIX) as self.connection:
            self.connection.connect(self.path)
            self.connection.sendall(self.request)
            answer = b""
            while not answer.endswith(b"\0"):
                part = self.connection.recv(1 << 16)
                if not part:
                    return
                answer += part
            self.last = answer[:200].decode(errors="replace")

    def run(self):
        while not self.over.is_set():
            began = time.monotonic()
            self.ask()
            self.waited += time.monotonic() - began
            if self.last.startswith('{"parameters"'):
                return  # it got one: there is no trouble
            time.sleep(0.01)

    def __enter__(self):
        self.began = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        took = time.monotonic() - self.began
        self.over.set()
        with contextlib.suppress(OSError):  # it may be between two of them
            self.connection.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.waited /= took
