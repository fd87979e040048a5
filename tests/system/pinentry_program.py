#!/usr/bin/python3
"""A pinentry that does what a test says: it reads its ways from the file beside it (its own name and ".does"), one a
line, and keeps what it was told in ".heard", its process in ".pid". The last line stays for all questions to come."""

import os
import signal
import sys
import time

HERE = os.path.realpath(__file__)


def say(text):
    try:
        os.write(1, text.encode() + b"\n")
    except OSError:
        sys.exit(0)


def keep(name, text):
    with open(HERE + name, "a", encoding="utf-8") as f:
        f.write(text)


def way():
    with open(HERE + ".does", encoding="utf-8") as f:
        ways = f.read().split("\n")
    if len(ways) > 1:
        with open(HERE + ".does.new", "w", encoding="utf-8") as f:
            f.write("\n".join(ways[1:]))
        os.rename(HERE + ".does.new", HERE + ".does")
    return ways[0]


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.02)


def main():
    does = way()
    keep(".pid", f"{os.getpid()}\n")
    if does == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if does == "closes":
        os.close(1)
        os.close(0)
        time.sleep(0.2)
        sys.exit(0)
    if does == "hangs":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        keep(".heard", "hangs\n")
        time.sleep(600)
    if does == "garbage":
        say("\x00\x01 this is no pinentry")
    elif does == "shell":
        say("bash: pinentry: no such thing")
    elif does == "flood":
        while True:
            os.write(1, b"# nothing to say\n" * 100)
    elif does == "long":
        os.write(1, b"OK" + b"x" * 5000)
        time.sleep(600)
    elif does == "eager":
        say("OK Pleased\n" + "OK\n" * 20)
    else:
        say("OK Pleased to meet you")
    for line in sys.stdin:
        keep(".heard", line)
        command = line.split()[0]
        if command == "SETDESC" and does == "speechless":
            say("ERR 83886355 Unknown IPC command <Pinentry>")
        elif command in ("OPTION", "SETTIMEOUT", "SETTITLE", "SETOK", "SETCANCEL") and does == "plain":
            say("ERR 83886254 Unknown option <Pinentry>")
        elif command != "CONFIRM":
            say("# a comment\nS STATUS of no matter\nOK")
        elif does in ("allow", "plain"):
            say("OK")
        elif does.startswith("allow after "):
            wait_for(does[len("allow after "):])
            say("OK")
        elif does.startswith("deny after "):
            wait_for(does[len("deny after "):])
            say("ERR 83886194 Not confirmed <Pinentry>")
        elif does == "deny":
            say("ERR 83886194 Not confirmed <Pinentry>")
        elif does == "cancel":
            say("ERR 83886179 Operation cancelled <Pinentry>")
        elif does == "timeout":
            say("ERR 83886142 Timeout <Pinentry>")
        elif does == "no terminal":
            say("S ERROR curses.isatty 83918950 \nERR 83918950 Inappropriate ioctl for device <Pinentry>")
        elif does == "asks":
            say("INQUIRE PASSPHRASE")
        elif does == "bytes":
            for byte in b"OK fine\n":
                os.write(1, bytes([byte]))
                time.sleep(0.01)
        elif does == "dies":
            sys.exit(3)
        elif does == "waits":
            keep(".heard", "waits\n")
            time.sleep(600)


main()
