"""The agent's end of the store protocol (agent/store/protocol.h), for tests of store programs."""

import os
import socket
import struct
import subprocess

BUILD = os.environ.get("MLTOKEN_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
BINDING = "ab" * 32
OTHER_BINDING = "cd" * 32


class Reply:
    def __init__(self, fields, value):
        self.fields = fields
        self.value = value
        self.result = fields.get("result")
        self.kind = fields.get("kind")
        self.reason = fields.get("reason", "")
        self.version = int(fields["version"]) if "version" in fields else None

    def __repr__(self):
        return f"Reply({self.fields}, {self.value[:40]})"


def frame(fields, value=b""):
    body = b"".join(k.encode() + b"=" + str(v).encode() + b"\n" for k, v in fields.items()) + b"\n" + value
    return struct.pack(">I", len(body)) + body


class Ended(Exception):
    """The program closed its end."""


class Store:
    """A running store program. Its environment is what is given, and nothing else."""

    def __init__(self, env, name="file", prefix=(), hello=True, timeout=60, **popen):
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout)
        self.socket = ours
        self.bytes = b""
        self.ids = 0
        program = os.path.join(os.path.abspath(BUILD), "mltoken-store-" + name)
        self.process = subprocess.Popen([*prefix, program], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE,
                                        env={k: str(v) for k, v in env.items()}, cwd="/", close_fds=True, **popen)
        theirs.close()
        self.hello = self.read() if hello else None

    def read(self):
        while len(self.bytes) < 4 or len(self.bytes) < 4 + struct.unpack(">I", self.bytes[:4])[0]:
            try:
                more = self.socket.recv(1 << 18)
            except ConnectionResetError:
                more = b""
            if not more:
                raise Ended
            self.bytes += more
        length = struct.unpack(">I", self.bytes[:4])[0]
        body, self.bytes = self.bytes[4:4 + length], self.bytes[4 + length:]
        head, value = (b"\n" + body).split(b"\n\n", 1)
        lines = [line for line in head.decode().split("\n") if line]
        return Reply(dict(line.split("=", 1) for line in lines), value)

    def send(self, op, value=b"", **fields):
        self.ids += 1
        try:
            self.socket.sendall(frame({"op": op, "id": self.ids, **fields}, value))
        except (BrokenPipeError, ConnectionResetError):
            raise Ended from None

    def ask(self, op, value=b"", **fields):
        self.send(op, value, **fields)
        reply = self.read()
        assert reply.fields["id"] == str(self.ids), reply
        return reply

    def get(self, profile="p", name="refresh_token", binding=BINDING):
        return self.ask("get", profile=profile, name=name, binding=binding)

    def put(self, value, profile="p", name="refresh_token", binding=BINDING, **more):
        return self.ask("put", value, profile=profile, name=name, binding=binding, **more)

    def end(self):
        """Closes the stream: the exit status."""
        self.socket.close()
        self.process.stderr.read()
        self.process.stderr.close()
        return self.process.wait(30)

    def kill(self):
        self.process.kill()
        self.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end()
        else:
            self.socket.close()
            self.process.stderr.close()
