#!/usr/bin/python3 -SE
"""A store of the tests' own, in another language: mltoken-store-NAME beside the agent. It keeps its secrets in plain files,
which no real store does. What it does wrong is told by the file `script` in its directory: one word a request."""

import os
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
NAME = os.path.basename(sys.argv[0])[len("mltoken-store-"):]
DATA = os.path.join(HERE, NAME + ".data")


def script():
    try:
        with open(os.path.join(HERE, NAME + ".script"), encoding="utf-8") as f:
            words = f.read().split()
    except FileNotFoundError:
        return "ok"
    if not words:
        return "ok"
    if not words[0].endswith("*"):  # a word with a star stays
        with open(os.path.join(HERE, NAME + ".script.new"), "w", encoding="utf-8") as f:
            f.write(" ".join(words[1:]))
        os.rename(os.path.join(HERE, NAME + ".script.new"), os.path.join(HERE, NAME + ".script"))
    return words[0].rstrip("*")


def note(text):
    with open(os.path.join(HERE, NAME + ".notes"), "a", encoding="utf-8") as f:
        f.write(text + "\n")


def write(data):
    while data:
        data = data[os.write(1, data):]


def reply(value=b"", **fields):
    body = "".join(f"{k}={v}\n" for k, v in fields.items()).encode() + b"\n" + value
    write(struct.pack(">I", len(body)) + body)


def read(count):
    data = b""
    while len(data) < count:
        part = os.read(0, count - len(data))
        if not part:
            os._exit(0)
        data += part
    return data


def path(profile, name):
    return os.path.join(DATA, f"{profile}\t{name}")


def load(profile, name):
    """(version, binding, value) or None."""
    try:
        with open(path(profile, name), "rb") as f:
            version, binding, value = f.read().split(b"\n", 2)
        return int(version), binding.decode(), value
    except FileNotFoundError:
        return None


def say():
    """Writes the file `says` to the standard error; what that does not take is lost."""
    with open(os.path.join(HERE, NAME + ".says"), "rb") as f:
        data = f.read()
    lost = 0
    while data:
        try:
            data = data[os.write(2, data[:4096]):]
        except BlockingIOError:
            lost += len(data[:4096])
            data = data[4096:]
    note(f"lost {lost}")


def keep(profile, name, version, binding, value):
    temporary = os.path.join(DATA, ".new")
    with open(temporary, "wb") as f:
        f.write(f"{version}\n{binding}\n".encode() + value)
        f.flush()
        os.fsync(f.fileno())
    os.rename(temporary, path(profile, name))
    directory = os.open(DATA, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def next_version():
    """Grows also across removals."""
    counter = os.path.join(DATA, ".version")
    try:
        with open(counter, encoding="ascii") as f:
            version = int(f.read() or 0)
    except FileNotFoundError:
        version = 0
    with open(counter + ".new", "w", encoding="ascii") as f:
        f.write(str(version + 1))
    os.rename(counter + ".new", counter)
    return version + 1


def get(asked, _value):
    found = load(asked["profile"], asked["name"])
    if not found:
        return {"result": "missing"}, b""
    if found[1] != asked["binding"]:
        return {"result": "bound", "version": found[0]}, b""
    return {"result": "ok", "version": found[0]}, found[2]


def put(asked, value):
    found = load(asked["profile"], asked["name"])
    there = found[0] if found else 0
    if "expect" in asked and int(asked["expect"]) != there:
        same = found and found[1] == asked["binding"]
        return {"result": "conflict", "version": there}, found[2] if same else b""
    version = next_version()
    keep(asked["profile"], asked["name"], version, asked["binding"], value)
    return {"result": "ok", "version": version}, b""


def entries(profile=None):
    for name in sorted(os.listdir(DATA)):
        if not name.startswith(".") and (profile is None or name.partition("\t")[0] == profile):
            yield name.split("\t")


def drop(asked, _value):
    for profile, name in list(entries(asked["profile"])):
        if "name" not in asked or name == asked["name"]:
            os.unlink(path(profile, name))
    return {"result": "ok"}, b""


def list_all(asked, _value):
    lines = [f"{p}\t{n}\t{load(p, n)[1]}\n" for p, n in entries(asked.get("profile"))]
    return {"result": "ok"}, "".join(lines).encode()


def main():
    os.makedirs(DATA, 0o700, exist_ok=True)
    note(f"start {os.getpid()}")
    reply(hello=1, name=NAME)
    while True:
        head, _, value = read(struct.unpack(">I", read(4))[0]).partition(b"\n\n")
        asked = dict(line.split("=", 1) for line in head.decode().split("\n"))
        note(f"{asked['op']} {asked.get('profile', '')} {asked.get('name', '')}")
        do = script()
        if do == "hang":
            time.sleep(600)
        elif do in ("say", "say-die", "say-hang"):
            say()
            if do == "say-die":
                os._exit(9)
            time.sleep(600 if do == "say-hang" else 0)
        elif do == "die-before":
            os._exit(9)
        elif do == "wait":
            reply(id=asked["id"], result="waiting", reason="somebody is to unlock it")
            while os.path.exists(os.path.join(HERE, NAME + ".locked")):
                time.sleep(0.05)
        elif do in ("unavailable", "full", "locked", "corrupt"):
            reply(id=asked["id"], result="fail", kind=do, reason=f"the {NAME} of this test is {do}")
            continue
        fields, answer = {"get": get, "put": put, "drop": drop, "list": list_all}[asked["op"]](asked, value)
        if do == "die-after":
            os._exit(9)
        reply(answer, id=asked["id"], **fields)


main()
