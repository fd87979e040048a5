"""What tests on this host and tests in the booted machine share: the outcome of a command, and waiting for something."""

import dataclasses
import json
import time

# Waits are ends of patience, never measurements: no test may depend on the machine being quick.
PATIENCE = 60


def wait_until(check, timeout=PATIENCE, step=0.02):
    """Waits until check() is true; returns its value, or fails."""
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {getattr(check, '__doc__', None) or check}")
        time.sleep(step)


@dataclasses.dataclass
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)

    def ok(self):
        assert self.code == 0, f"exit {self.code}: {self.out!r} {self.err!r}"
        return self

    def failed(self, code):
        """Exit code as said, nothing on stdout; what is on stderr is returned."""
        assert self.code == code, f"exit {self.code}, not {code}: {self.out!r} {self.err!r}"
        assert self.out == ""
        return self.err
