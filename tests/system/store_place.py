"""A home with a key file for tests of mltoken-store-file, and the fixtures that they share (import both)."""

import os
import tempfile
from pathlib import Path

import pytest

from store import Store

ROOT = os.geteuid() == 0
NOBODY = 65534
# mlock() does nothing under a sanitizer, and what was freed is kept aside, unwiped
PLAIN = pytest.mark.skipif(bool(os.environ.get("MLTOKEN_SAN")), reason="says nothing about memory under a sanitizer")


class Place:
    """A home with a key file."""

    def __init__(self, path):
        self.home = path
        self.folder = path / "state" / "mltoken"
        self.key = path / "key"
        self.key.write_bytes(os.urandom(32))
        self.key.chmod(0o600)
        self.env = {"XDG_STATE_HOME": path / "state", "MLTOKEN_KEY_FILE": self.key}

    def open(self, without=(), **more):
        env = {k: v for k, v in {**self.env, **more.pop("env", {})}.items() if k not in without}
        return Store(env, **more)

    def files(self):
        return {p.name: p.read_bytes() for p in self.folder.iterdir() if p.name != "lock"}

    def restore(self, files):
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
            (self.folder / name).chmod(0o600)


@pytest.fixture
def place():
    """Not pytest's: another uid must get there."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Place(Path(path))


@pytest.fixture
def store(place):
    with place.open() as store:
        yield store


def expect_fail(reply, kind, *words):
    assert (reply.result, reply.kind) == ("fail", kind), reply
    for word in words:
        assert word in reply.reason, reply
    assert "hunter2" not in reply.reason
