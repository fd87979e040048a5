"""mltoken-pam-login as the PAM module runs it: a configuration file, a pipe that says "stop" when it ends, and lines."""

import base64
import os
import select
import subprocess
import time

from harness import PATIENCE, SANITIZER, program, wait_until

LISTS = ("group", "role")
# what the module gives it: the whole of its environment
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0"}


def issuer(authority):
    return authority.https + "/oidc"


def person(authority, client="device", base=None, **more):
    """A device_code profile, over https: http is refused where root's file says it. Users of the system can read its ca_file."""
    os.chmod(os.path.dirname(authority.ca_file), 0o711)
    return {"grant": "device_code", "authority": base or issuer(authority), "client_id": client, "scope": "openid offline_access",
            "ca_file": authority.ca_file, **more}


def parse(line):
    """(word, {field: text or bytes, list: [texts]}) of one line, which must be of the form of lib/common/lines.h."""
    assert line.endswith(b"\n") and len(line) <= 64 * 1024 + 1, line[:200]
    word, *pairs = line[:-1].decode("ascii").split(" ")
    fields = {name: [] for name in LISTS}
    for pair in pairs:
        name, _, value = pair.partition("=")
        raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        assert base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == value
        if name in LISTS:
            fields[name].append(raw.decode())
            continue
        assert name not in fields, f"{name} twice"
        fields[name] = raw.decode()
    return word, fields


class Helper:
    """One run of it. Its standard error is kept apart, in `err` once it has ended."""

    def __init__(self, home, *args, config=None, environment=None, debug=True, before=(), **popen):
        sanitizer = {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
        arguments = [*before, program("mltoken-pam-login"), "--config", config or home.config_path, *(["--debug"] if debug else []), *args]
        self.errors = open(os.path.join(home.path, f"login-{time.monotonic_ns()}.err"), "w+b")
        popen = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **popen}
        self.process = subprocess.Popen(arguments, env={**ENVIRONMENT, **sanitizer} if environment is None else environment,
                                        stderr=self.errors, cwd="/", bufsize=0, **popen)
        self.buffer = b""
        self.seen = []
        self.raw = []

    @property
    def pid(self):
        return self.process.pid

    def line(self, timeout=PATIENCE * 2):
        """The next line as (word, fields); EOFError at the end."""
        end = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            assert left > 0 and select.select([self.process.stdout], [], [], left)[0], f"no line within {timeout} s: {self.seen}"
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                assert not self.buffer, self.buffer
                raise EOFError(self.error_text())
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        self.raw.append(line + b"\n")
        self.seen.append(parse(line + b"\n"))
        return self.seen[-1]

    def prompt(self):
        word, fields = self.line()
        assert word == "prompt", (word, fields, self.error_text())
        return fields

    def result(self):
        """The one result line, behind which there is nothing, and the exit status that goes with it."""
        while True:
            word, fields = self.line(PATIENCE * 6)
            if word not in ("prompt", "pending"):
                break
        try:
            raise AssertionError(f"a line behind the result: {self.line()}")
        except EOFError:
            pass
        status = self.process.wait(PATIENCE)
        assert status == (0 if word in ("done", "verified") else 1), (word, status)
        assert not SANITIZER.search(self.error_text()), self.error_text()
        return word, fields

    def done(self):
        word, fields = self.result()
        assert word == "done", (word, fields, self.error_text())
        return fields

    def fail(self, wanted):
        word, fields = self.result()
        assert word == "fail", (word, fields)
        assert fields["class"] == wanted, (fields, self.error_text())
        assert "\n" not in fields["text"] and fields["text"]
        return fields["text"]

    def error_text(self):
        with open(self.errors.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def gone(self, timeout=PATIENCE):
        return self.process.wait(timeout)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.errors):
            if file:
                file.close()


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def alive(pid):
    """Whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_gone(*pids):
    wait_until(lambda: not any(alive(pid) for pid in pids))
