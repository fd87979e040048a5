"""A system bus and a logind of the tests' own: sessions that are locked, sleeps that are held back, and lies.

python3-dbusmock's logind neither hands out inhibitors nor says PrepareForSleep, so it is made here."""

import os
import select
import subprocess
import threading

import gi
from harness import PATIENCE, wait_until
from keyring_session import BUS_CONFIG

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

NAME, PATH = "org.freedesktop.login1", "/org/freedesktop/login1"
MANAGER, SESSION = NAME + ".Manager", NAME + ".Session"
DESCRIPTION = f"""<node><interface name='{MANAGER}'>
<method name='ListSessions'><arg type='a(susso)' direction='out'/></method>
<method name='Inhibit'><arg type='s' direction='in'/><arg type='s' direction='in'/><arg type='s' direction='in'/>
<arg type='s' direction='in'/><arg type='h' direction='out'/></method>
<signal name='PrepareForSleep'><arg type='b'/></signal>
<signal name='SessionNew'><arg type='s'/><arg type='o'/></signal>
<signal name='SessionRemoved'><arg type='s'/><arg type='o'/></signal></interface>
<interface name='{SESSION}'><property name='User' type='(uo)' access='read'/>
<property name='LockedHint' type='b' access='read'/><signal name='Lock'/><signal name='Unlock'/></interface></node>"""


class SystemBus:
    """A dbus-daemon. Its address goes into DBUS_SYSTEM_BUS_ADDRESS."""

    def __init__(self, home):
        self.home = home
        self.socket = os.path.join(home.path, "system-bus")
        self.address = "unix:path=" + self.socket
        self.process = None

    def start(self):
        services = os.path.join(self.home.path, "no-services")
        os.makedirs(services, exist_ok=True)
        config = self.home.write("system-bus.conf", BUS_CONFIG.format(socket=self.socket, services=services))
        self.process = subprocess.Popen(["dbus-daemon", "--nofork", "--print-address", "--config-file=" + config],
                                        cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout.readline(), "no bus"
        return self

    def connect(self):
        flags = Gio.DBusConnectionFlags
        bus = Gio.DBusConnection.new_for_address_sync(
            self.address, flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION, None, None)
        bus.set_exit_on_close(False)
        return bus

    def end(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None


class Logind:
    """The one on a bus. Knows who holds sleeps back."""

    def __init__(self, bus, own=True):
        self.context = GLib.MainContext.new()
        self.loop = GLib.MainLoop.new(self.context, False)
        self.sessions = {}  # id -> [uid, locked]
        self.inhibitors = []  # ends to read from: at their end when they were let go
        self.asked = []  # what was asked for: (method, arguments)
        self.refuses = set()
        self.bus = bus.connect()
        self.interfaces = Gio.DBusNodeInfo.new_for_xml(DESCRIPTION).interfaces
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        self.register(PATH, self.interfaces[0])
        if own:
            reply = self.bus.call_sync("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                       "RequestName", GLib.Variant("(su)", (NAME, 0)), None, 0, -1, None)
            assert reply.unpack() == (1,)

    def serve(self):
        self.context.push_thread_default()
        self.loop.run()
        self.context.pop_thread_default()

    def inside(self, function):
        """Runs it in the thread that serves."""
        done, result = threading.Event(), []

        def run(*_):
            result.append(function())
            done.set()
            return False

        source = GLib.idle_source_new()
        source.set_callback(run)
        source.attach(self.context)
        assert done.wait(PATIENCE)
        return result[0]

    def register(self, path, interface):
        self.inside(lambda: self.bus.register_object(path, interface, self.called, self.read, None))

    def called(self, _bus, _sender, _path, _interface, method, arguments, invocation):
        self.asked.append((method, arguments.unpack()))
        if method in self.refuses:
            invocation.return_dbus_error("org.freedesktop.DBus.Error.AccessDenied", "not now")
        elif method == "Inhibit":
            ours, theirs = os.pipe()
            self.inhibitors.append(ours)
            invocation.return_value_with_unix_fd_list(GLib.Variant("(h)", (0,)), Gio.UnixFDList.new_from_array([theirs]))
        else:
            invocation.return_value(GLib.Variant("(a(susso))", ([
                (name, uid, "somebody", "seat0", self.path(name)) for name, (uid, _) in self.sessions.items()],)))

    def read(self, _bus, _sender, path, _interface, name):
        uid, locked = self.sessions[path.rpartition("/")[2]]
        self.asked.append(("property", path))
        return GLib.Variant("(uo)", (uid, PATH + "/user/x")) if name == "User" else GLib.Variant("b", locked)

    def path(self, name):
        return f"{PATH}/session/{name}"

    def session(self, name, uid=None, locked=False, tell=False):
        """A session that is there, or comes now."""
        self.sessions[name] = [os.getuid() if uid is None else uid, locked]
        self.register(self.path(name), self.interfaces[1])
        if tell:
            self.signal(MANAGER, "SessionNew", PATH, GLib.Variant("(so)", (name, self.path(name))))
        return self

    def signal(self, interface, name, path=PATH, arguments=None):
        self.bus.emit_signal(None, path, interface, name, arguments)

    def sleep(self, begins=True):
        self.signal(MANAGER, "PrepareForSleep", PATH, GLib.Variant("(b)", (begins,)))

    def lock(self, name):
        self.signal(SESSION, "Lock", self.path(name))

    def hint(self, name, locked=True):
        if name in self.sessions:
            self.sessions[name][1] = locked
        self.signal("org.freedesktop.DBus.Properties", "PropertiesChanged", self.path(name), GLib.Variant(
            "(sa{sv}as)", (SESSION, {"LockedHint": GLib.Variant("b", locked)}, [])))

    def flush(self):
        """All that was said has been passed on."""
        self.bus.flush_sync(None)
        self.bus.call_sync("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId", None, None,
                           0, -1, None)

    def held(self):
        """How many hold a sleep back now."""
        count = 0
        for fd in self.inhibitors:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            count += not poll.poll(0)
        return count

    def wait_held(self, count):
        wait_until(lambda: self.held() == count)

    def end(self):
        if not self.bus.is_closed():
            self.bus.close_sync(None)
        self.loop.quit()
        self.thread.join()
        for fd in self.inhibitors:
            os.close(fd)
        self.inhibitors = []
