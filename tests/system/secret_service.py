"""A Secret Service of the tests' own that closes its window when it is told to, as the specification has it and
gnome-keyring does not. It has one locked item, whatever is searched for, and says what is asked of it."""

import threading

import gi
from harness import PATIENCE

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

NAME, ROOT = "org.freedesktop.secrets", "/org/freedesktop/secrets"
COLLECTION, ITEM, PROMPT = ROOT + "/collection/c", ROOT + "/collection/c/1", ROOT + "/prompt/p1"
I = "org.freedesktop.Secret."
DESCRIPTION = f"""<node><interface name='{I}Service'>
<method name='OpenSession'><arg type='s' direction='in'/><arg type='v' direction='in'/><arg type='v' direction='out'/><arg type='o' direction='out'/></method>
<method name='SearchItems'><arg type='a{{ss}}' direction='in'/><arg type='ao' direction='out'/><arg type='ao' direction='out'/></method>
<method name='Unlock'><arg type='ao' direction='in'/><arg type='ao' direction='out'/><arg type='o' direction='out'/></method>
<method name='ReadAlias'><arg type='s' direction='in'/><arg type='o' direction='out'/></method>
<property name='Collections' type='ao' access='read'/></interface>
<interface name='{I}Item'><property name='Locked' type='b' access='read'/><property name='Attributes' type='a{{ss}}' access='read'/>
<property name='Label' type='s' access='read'/><property name='Type' type='s' access='read'/>
<property name='Created' type='t' access='read'/><property name='Modified' type='t' access='read'/></interface>
<interface name='{I}Prompt'><method name='Prompt'><arg type='s' direction='in'/></method><method name='Dismiss'/>
<signal name='Completed'><arg type='b'/><arg type='v'/></signal></interface></node>"""


class SecretService:
    """On the session's bus. `asked` is what was called, in order."""

    def __init__(self, session):
        self.asked = []
        self.mute = set()  # methods that are never answered
        self.context = GLib.MainContext.new()
        self.loop = GLib.MainLoop.new(self.context, False)
        self.bus = session.connection()
        ready = threading.Event()
        self.thread = threading.Thread(target=self.serve, args=(ready,))
        self.thread.start()
        assert ready.wait(PATIENCE)
        reply = self.bus.call_sync("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName",
                                   GLib.Variant("(su)", (NAME, 0)), None, 0, -1, None)
        assert reply.unpack() == (1,)

    def serve(self, ready):
        self.context.push_thread_default()
        for path, interface in zip((ROOT, ITEM, PROMPT), Gio.DBusNodeInfo.new_for_xml(DESCRIPTION).interfaces):
            self.bus.register_object(path, interface, self.called, self.read, None)
        ready.set()
        self.loop.run()
        self.context.pop_thread_default()

    def called(self, _bus, _sender, _path, _interface, method, arguments, invocation):
        self.asked.append(method)
        if method in self.mute:
            return
        if method == "OpenSession" and arguments.unpack()[0] != "plain":
            invocation.return_dbus_error("org.freedesktop.DBus.Error.NotSupported", "only plain")
            return
        invocation.return_value({
            "OpenSession": lambda: GLib.Variant("(vo)", (GLib.Variant("s", ""), ROOT + "/session/s1")),
            "SearchItems": lambda: GLib.Variant("(aoao)", ([], [ITEM])),
            "Unlock": lambda: GLib.Variant("(aoo)", ([], PROMPT)),
            "ReadAlias": lambda: GLib.Variant("(o)", (COLLECTION,))}.get(method, lambda: None)())
        if method == "Dismiss":
            self.bus.emit_signal(None, PROMPT, I + "Prompt", "Completed",
                                 GLib.Variant("(bv)", (True, GLib.Variant("ao", []))))

    def read(self, _bus, _sender, _path, _interface, name):
        return {"Collections": GLib.Variant("ao", []), "Locked": GLib.Variant("b", True), "Label": GLib.Variant("s", "x"),
                "Attributes": GLib.Variant("a{ss}", {}), "Type": GLib.Variant("s", ""),
                "Created": GLib.Variant("t", 0), "Modified": GLib.Variant("t", 0)}[name]

    def end(self):
        self.loop.quit()
        self.thread.join()
        if not self.bus.is_closed():
            self.bus.close_sync(None)
