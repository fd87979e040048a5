"""A real gnome-keyring on a bus of its own, and the agent's end of the store protocol."""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

import gi
from harness import HERE, PATIENCE, program, wait_until

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

SERVICE, ROOT = "org.freedesktop.secrets", "/org/freedesktop/secrets"
PASSWORD = "the password of the keyring"
BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth><servicedir>{services}</servicedir>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>"""
# what Debian installs; without a display it cannot open its window, and ends
PROMPTER_SERVICE = "[D-BUS Service]\nName=org.gnome.keyring.SystemPrompter\nExec=/usr/libexec/gcr-prompter\n"


def heard(process):
    """The next line that a prompter says."""
    assert select.select([process.stdout], [], [], PATIENCE)[0], "nothing was said"
    return process.stdout.readline()


class Session:
    """A session bus in the home's runtime directory, and what was started on it. Ends all of it, by pid."""

    def __init__(self, home):
        self.home = home
        self.socket = os.path.join(home.runtime, "bus")
        self.address = "unix:path=" + self.socket
        self.env = home.env(XDG_DATA_HOME=os.path.join(home.home, ".local/share"), DBUS_SESSION_BUS_ADDRESS=self.address)
        self.started = []
        self.keyring = self.bus = None
        self.start_bus()

    def popen(self, *args, **popen):
        process = subprocess.Popen(args, env=self.env, cwd="/", **popen)
        self.started.append(process)
        return process

    def start_bus(self):
        services = os.path.join(self.home.path, "services")
        os.makedirs(services, exist_ok=True)
        with open(os.path.join(services, "prompter.service"), "w", encoding="ascii") as f:
            f.write(PROMPTER_SERVICE)
        config = self.home.write("bus.conf", BUS_CONFIG.format(socket=self.socket, services=services))
        self.bus = self.popen("dbus-daemon", "--nofork", "--print-address", "--config-file=" + config,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.bus.stdout.readline(), "no bus"

    def connection(self):
        flags = Gio.DBusConnectionFlags
        bus = Gio.DBusConnection.new_for_address_sync(
            self.address, flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION, None, None)
        bus.set_exit_on_close(False)
        return bus

    def call(self, path, interface, method, arguments=None, to=SERVICE):
        return self.connection().call_sync(to, path, interface, method, arguments, None, Gio.DBusCallFlags.NONE,
                                           PATIENCE * 1000, None).unpack()

    def owned(self, name):
        return self.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner", GLib.Variant("(s)", (name,)),
                         to="org.freedesktop.DBus")[0]

    def start_keyring(self, password=PASSWORD):
        """gnome-keyring-daemon with its login keyring opened, made if need be; without a password: as it is found."""
        self.keyring = self.popen("gnome-keyring-daemon", "--foreground", "--components=secrets",
                                  *(["--unlock"] if password else []), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        if password:
            self.keyring.stdin.write(password.encode())
        self.keyring.stdin.close()
        wait_until(lambda: self.owned(SERVICE))
        if password:
            wait_until(lambda: not self.property(ROOT + "/collection/login", "Collection", "Locked"))
        return self

    def end_keyring(self, how=signal.SIGKILL):
        self.keyring.send_signal(how)
        self.keyring.wait(PATIENCE)
        wait_until(lambda: not self.owned(SERVICE))

    def end_bus(self):
        self.bus.kill()
        self.bus.wait()
        self.bus.stdout.close()

    def property(self, path, interface, name):
        arguments = GLib.Variant("(ss)", ("org.freedesktop.Secret." + interface, name))
        return self.call(path, "org.freedesktop.DBus.Properties", "Get", arguments)[0]

    def lock(self):
        collection = ROOT + "/collection/login"
        self.call(ROOT, "org.freedesktop.Secret.Service", "Lock", GLib.Variant("(ao)", ([collection],)))
        wait_until(lambda: self.property(collection, "Collection", "Locked"))

    def items(self):
        """{path: (attributes, label)} of every item in every collection: what can be read without a password."""
        found = self.call(ROOT, "org.freedesktop.Secret.Service", "SearchItems", GLib.Variant("(a{ss})", ({},)))
        return {path: (self.property(path, "Item", "Attributes"), self.property(path, "Item", "Label"))
                for paths in found for path in paths}

    def as_another(self, path, interface, method, arguments):
        """A call with a secret, as another program makes it. arguments: of the session. A session ends with its connection."""
        bus = self.connection()

        def call(on, interface, method, arguments):
            return bus.call_sync(SERVICE, on, "org.freedesktop.Secret." + interface, method, arguments, None,
                                 Gio.DBusCallFlags.NONE, PATIENCE * 1000, None).unpack()

        opened = call(ROOT, "Service", "OpenSession", GLib.Variant("(sv)", ("plain", GLib.Variant("s", ""))))
        return call(path, interface, method, arguments(opened[1]))

    def set_secret(self, path, secret):
        self.as_another(path, "Item", "SetSecret",
                        lambda session: GLib.Variant("((oayays))", ((session, b"", secret, "text/plain"),)))

    def create_item(self, attributes, secret, collection="login"):
        properties = {"org.freedesktop.Secret.Item.Label": GLib.Variant("s", "another's"),
                      "org.freedesktop.Secret.Item.Attributes": GLib.Variant("a{ss}", attributes)}
        self.as_another(f"{ROOT}/collection/{collection}", "Collection", "CreateItem", lambda session: GLib.Variant(
            "(a{sv}(oayays)b)", (properties, (session, b"", secret, "text/plain"), False)))

    def prompter(self, *mode):
        """Somebody who closes, answers or leaves the window."""
        process = self.popen(sys.executable, os.path.join(HERE, "keyring_prompter.py"), *mode, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
        assert heard(process) == "ready\n"
        return process

    def end(self):
        for process in reversed(self.started):
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()


class Reply(dict):
    """The fields of an answer; its value, and the reasons of the waits before it."""

    value = b""
    waits = ()


class Store:
    """A store program, spoken to as the agent does."""

    def __init__(self, name, env, log):
        ours, theirs = socket.socketpair()
        with theirs, open(log, "ab") as err:
            self.process = subprocess.Popen([program("mltoken-store-" + name)], env=env, cwd="/", stdin=theirs,
                                            stdout=theirs, stderr=err)
        self.socket, self.log, self.count = ours, log, 0
        self.hello = self.receive()

    def exactly(self, length, timeout):
        data, end = b"", time.monotonic() + timeout
        while len(data) < length:
            if not select.select([self.socket], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError
            more = self.socket.recv(length - len(data))
            if not more:
                raise EOFError(f"the store ended with {self.process.wait(PATIENCE)}")
            data += more
        return data

    def receive(self, timeout=PATIENCE):
        length = struct.unpack(">I", self.exactly(4, timeout))[0]
        head, _, value = self.exactly(length, timeout).partition(b"\n\n")
        reply = Reply(line.split("=", 1) for line in head.decode().split("\n"))
        reply.value = value
        return reply

    def send(self, op, value=b"", **fields):
        self.count += 1
        lines = "".join(f"{k}={v}\n" for k, v in {"op": op, "id": self.count, **fields}.items() if v is not None)
        frame = lines.encode() + b"\n" + value
        self.socket.sendall(struct.pack(">I", len(frame)) + frame)

    def answer(self, timeout=PATIENCE):
        waits = []
        while True:
            reply = self.receive(timeout)
            assert reply["id"] == str(self.count)
            if reply["result"] != "waiting":
                reply.waits = waits
                return reply
            waits.append(reply["reason"])

    def __call__(self, op, value=b"", **fields):
        self.send(op, value, **fields)
        return self.answer()

    def lines(self, **fields):
        """All pages of a list."""
        lines, after = [], None
        while True:
            reply = self("list", after=after, **fields)
            assert reply["result"] == "ok", reply
            page = [line.split("\t") for line in reply.value.decode().splitlines()]
            lines += page
            if "more" not in reply:
                return lines
            assert page, "a page without a line"
            after = page[-1][0]

    def end(self):
        """Closes the stream; the exit status."""
        self.socket.close()
        return self.process.wait(PATIENCE)

    def stop(self):
        """Closes the stream, and kills what has not ended by itself then."""
        self.socket.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the store did not end with its stream") from None
        assert self.process.returncode in (0, -signal.SIGKILL), f"the store ended with {self.process.returncode}"
