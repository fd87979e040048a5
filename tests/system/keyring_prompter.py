#!/usr/bin/python3
"""The window that gnome-keyring asks a person in, without a display and without a person.

    keyring_prompter.py dismiss        closes each window
    keyring_prompter.py answer WORD    types WORD (a wrong one is then closed)
    keyring_prompter.py wait [WORD]    leaves the window open, until SIGUSR1 closes it or SIGUSR2 types WORD

It says "ready" when it can be asked, then "asked TYPE" for each question, and "closed" when the asker is done with it. Speaks the protocol of gcr-prompter, with
gcr's own exchange of the password."""

import signal
import sys

import gi

gi.require_version("Gcr", "3")
from gi.repository import Gcr, Gio, GLib  # noqa: E402

NAME, PATH, INTERFACE = "org.gnome.keyring.SystemPrompter", "/org/gnome/keyring/Prompter", "org.gnome.keyring.internal.Prompter"
DESCRIPTION = f"""<node><interface name='{INTERFACE}'>
<method name='BeginPrompting'><arg name='callback' type='o' direction='in'/></method>
<method name='PerformPrompt'><arg name='callback' type='o' direction='in'/><arg name='type' type='s' direction='in'/>
<arg name='properties' type='a{{sv}}' direction='in'/><arg name='exchange' type='s' direction='in'/></method>
<method name='StopPrompting'><arg name='callback' type='o' direction='in'/></method>
</interface></node>"""


class Prompter:
    """Answers as told. Owns the name on the bus while it runs."""

    def __init__(self, mode, word):
        self.mode, self.word = mode, word
        self.exchanges, self.answered = {}, set()
        self.waiting = []
        self.loop = GLib.MainLoop()

    def say(self, text):
        print(text, flush=True)

    def callback(self, bus, to, method, arguments=None):
        bus.call(*to, INTERFACE + ".Callback", method, arguments, None, Gio.DBusCallFlags.NONE, -1, None, None)

    def ready(self, bus, to, reply, exchange):
        self.callback(bus, to, "PromptReady", GLib.Variant("(sa{sv}s)", (reply, {}, exchange)))

    def perform(self, bus, to, kind, received):
        self.say("asked " + kind)
        if self.mode == "wait":
            self.waiting.append((bus, to, kind, received))
        else:
            self.answer(bus, to, kind, received, self.mode == "answer")

    def go_on(self, typed):
        """Whoever waits is answered, and whoever asks from now on waits."""
        waiting, self.waiting = self.waiting, []
        for question in waiting:
            self.answer(*question, typed)
        return True

    def answer(self, bus, to, kind, received, typed):
        exchange = self.exchanges[to]
        exchange.receive(received)
        if typed and (to, kind) not in self.answered:  # "confirm": is a password so weak meant?
            self.answered.add((to, kind))
            self.ready(bus, to, "yes", exchange.send(self.word, -1))
        else:
            self.ready(bus, to, "no", exchange.send(None, 0))

    def called(self, bus, sender, _path, _interface, method, arguments, invocation):
        to = (sender, arguments[0])
        invocation.return_value(None)
        if method == "BeginPrompting":
            self.exchanges[to] = Gcr.SecretExchange.new(None)
            self.ready(bus, to, "", self.exchanges[to].begin())
        elif method == "PerformPrompt":
            self.perform(bus, to, arguments[1], arguments[3])
        else:
            self.say("closed")
            self.callback(bus, to, "PromptDone")

    def run(self):
        interface = Gio.DBusNodeInfo.new_for_xml(DESCRIPTION).interfaces[0]
        bus = Gio.bus_get_sync(Gio.BusType.SESSION, None)
        bus.register_object(PATH, interface, self.called, None, None)
        Gio.bus_own_name_on_connection(bus, NAME, Gio.BusNameOwnerFlags.NONE, lambda *_: self.say("ready"),
                                       lambda *_: self.loop.quit())
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGUSR1, self.go_on, False)
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGUSR2, self.go_on, True)
        self.loop.run()


if __name__ == "__main__":
    Prompter(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None).run()
