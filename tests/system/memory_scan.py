"""Looks for secrets in the memory of running processes (needs root): each in every form in which a program holds one.

A freed block of memory loses its first bytes to the allocator, and half a secret is as bad as all of it: so each form
is looked for by its thirds."""

import base64
import collections
import json
import re
import subprocess
import urllib.parse

Found = collections.namedtuple("Found", "secret form mapping locked size")
Mapping = collections.namedtuple("Mapping", "start end mode name fields")
SHORTEST = 10  # a third that is shorter could be there by chance
EMPTY, EMPTY_LEFT = re.compile(rb"\0{64,}"), b"\0" * 64  # most of it is that
HEAD = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$")


def mappings(pid):
    """Of a process, with what smaps says of each."""
    found = []
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as f:
        for line in f:
            head = HEAD.match(line)
            if head:
                found.append(Mapping(int(head[1], 16), int(head[2], 16), head[3], head[4], {}))
            else:
                name, _, value = line.partition(":")
                found[-1].fields[name] = value.split()
    return found


def kib(mapping, name):
    return int(mapping.fields.get(name, ["0"])[0])


def contents(pid):
    """(mapping, bytes) of all that can be read and was ever written to. What is only the content of a file, or was never
    touched, holds nothing of the process's own."""
    with open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for mapping in mappings(pid):
            if not mapping.mode.startswith("r") or mapping.name in ("[vvar]", "[vsyscall]"):
                continue
            if kib(mapping, "Anonymous") + kib(mapping, "Swap") == 0 and (kib(mapping, "Rss") == 0 or mapping.mode[3] == "p"):
                continue
            try:
                mem.seek(mapping.start)
                yield mapping, EMPTY.sub(EMPTY_LEFT, mem.read(mapping.end - mapping.start))
            except (OSError, ValueError, OverflowError):
                if mapping.mode.startswith("rw") and "[" not in mapping.name:
                    raise


def thirds(data):
    size = len(data) // 3
    assert size >= SHORTEST, f"too short to be looked for: {len(data)} bytes"
    return {data[:size], data[size:2 * size], data[2 * size:]}


def forms(secret, client=None):
    """{form: bytes}: as it is, as a form field, in JSON, and in Basic and any other base64."""
    raw = secret.encode() if isinstance(secret, str) else secret
    found = {"plain": raw}
    if isinstance(secret, str):
        for name, text in (("percent", urllib.parse.quote(secret, safe="")), ("form", urllib.parse.quote_plus(secret)),
                           ("percent, kept", urllib.parse.quote(secret, safe="!'()*~")),
                           ("json", json.dumps(secret, ensure_ascii=False)[1:-1]), ("json, ascii", json.dumps(secret)[1:-1]),
                           ("json, slashes", json.dumps(secret, ensure_ascii=False)[1:-1].replace("/", "\\/"))):
            found[name] = text.encode()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)[4:-4]
        found[f"base64+{shift}"] = encoded
        found[f"base64url+{shift}"] = encoded.replace(b"+", b"-").replace(b"/", b"_")
    if client:
        pair = f"{urllib.parse.quote_plus(client)}:{urllib.parse.quote_plus(secret)}"
        found["basic"] = base64.b64encode(pair.encode())[4:-4]
        found["basic, as it is"] = base64.b64encode(f"{client}:{secret}".encode())[4:-4]
    return found


class Secrets:
    """What is looked for: {name: {bytes: form}}."""

    def __init__(self):
        self.needles = {}

    def add(self, name, secret, client=None):
        known = self.needles.setdefault(name, {})
        for form, data in forms(secret, client).items():
            for part in thirds(data):
                known.setdefault(part, form)
        return secret

    def of(self, *beginnings):
        """Those whose names begin so."""
        chosen = Secrets()
        chosen.needles = {name: parts for name, parts in self.needles.items() if name.startswith(beginnings)}
        return chosen

    def __len__(self):
        return len(self.needles)

    def find(self, pid):
        """Where they are in a process."""
        found = set()
        for mapping, data in contents(pid):
            for name, parts in self.needles.items():
                for part, form in parts.items():
                    if part in data:
                        where = f"{mapping.start:x}-{mapping.end:x} {mapping.mode} {mapping.name}"
                        found.add(Found(name, form, where, "lo" in mapping.fields.get("VmFlags", []),
                                        mapping.end - mapping.start))
        return found


def private_numbers(path, password=None):
    """The secret numbers of an RSA key as the bytes that memory would have: both ways round."""
    text = subprocess.run(["openssl", "rsa", "-in", path, "-noout", "-text", *(["-passin", "pass:" + password] if password else [])],
                          check=True, capture_output=True, text=True).stdout
    found = {}
    for name in ("privateExponent", "prime1", "prime2"):
        digits = re.search(name + r":\s*\n((?:\s+[0-9a-f:]+\n)+)", text)[1]
        number = bytes.fromhex(re.sub(r"[^0-9a-f]", "", digits)).lstrip(b"\0")
        found[name], found[name + " reversed"] = number, number[::-1]
    return found
