"""A raw HTTP server for test_http.c and test_documents.c: the path says what goes wrong. Prints one line when ready:
PLAIN GOOD WRONG_HOST OTHER_CA EXPIRED CA_FILE OTHER_CA_FILE (five ports, two paths). Ends when stdin does."""

import email.utils
import json
import os
import socket
import struct
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from authority.tls import LocalCa  # noqa: E402

lock = threading.Lock()
hits = {}  # by path
broken = set()  # cases that POST /break/CASE has broken
counts = {"connections": 0, "requests": 0, "posts": 0, "now": 0, "most": 0}


def read_request(sock, rest):
    while b"\r\n\r\n" not in rest:
        data = sock.recv(65536)
        if not data or data[0] == 0x16:  # somebody speaks TLS
            return None, b"", b""
        rest += data
    head, rest = rest.split(b"\r\n\r\n", 1)
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, value = line.split(b":", 1)
        if name.lower() == b"content-length":
            length = int(value)
    while len(rest) < length:
        data = sock.recv(65536)
        if not data:
            return None, b"", b""
        rest += data
    return head, rest[:length], rest[length:]


def reply(sock, body, status=b"200 OK", headers=b"", length=None):
    length = len(body) if length is None else length
    sock.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n" % length + headers + b"\r\n" + body)


def cut(sock):
    """RST in place of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def forever(sock, block):
    while True:
        sock.sendall(block)


OPENID, OAUTH = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"


def document(sock, case, which):
    """The metadata of the authority http://127.0.0.1:PORT/CASE: which is openid, inserted or appended."""
    base = "http://127.0.0.1:%d" % sock.getsockname()[1]
    issuer = base + "/" + case if case != "liar" else "https://evil.example"
    text = json.dumps({"issuer": issuer, "token_endpoint": base + "/token", "jwks_uri": base + "/keys/" + case}).encode()
    with lock:
        if case in broken:
            return reply(sock, b"busy", b"503 Service Unavailable", b"Retry-After: 7\r\n")
    if case.startswith("clock"):
        date = email.utils.formatdate(time.time() + int(case[5:]), usegmt=True)
        return reply(sock, text, headers=b"Date: " + date.encode() + b"\r\n")
    if case == "slowdoc":
        time.sleep(0.2)
    if case == which or case in ("good", "liar", "slowdoc"):
        return reply(sock, text)
    if case == "throttled":
        return reply(sock, b"slow down", b"429 Too Many Requests", b"Retry-After: 9\r\n")
    if case == "cut":
        return False
    if case == "html" and which == "openid":
        return reply(sock, b"<html>sign in</html>")
    if case == "html" and which == "inserted":
        return reply(sock, text)
    if case == "login" and which == "openid":
        return reply(sock, b"", b"302 Found", b"Location: /login\r\n")
    if case == "login":
        return reply(sock, text)
    return reply(sock, b"no", b"404 Not Found")


def find_document(sock, path):
    """Whether the connection stays; None when it is the path of something else."""
    if path.startswith("/hits/"):
        return None
    if path.endswith(OPENID):
        return document(sock, path[1:-len(OPENID)], "openid") is not False
    if path.startswith(OAUTH + "/"):
        return document(sock, path[len(OAUTH) + 1:], "inserted") is not False
    if path.endswith(OAUTH):
        return document(sock, path[1:-len(OAUTH)], "appended") is not False
    return None


def keys(sock, case):
    with lock:
        bad = case in broken
    if bad or case == "garbage":
        return reply(sock, b"<html>")
    reply(sock, json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "kid": case, "alg": "ES256",
                                      "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                                      "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}).encode())


def act(sock, path, head, body, number):
    """True: the connection stays."""
    with lock:
        hits[path] = hits.get(path, 0) + 1
    found = find_document(sock, path)
    if found is not None:
        return found
    word, _, number_text = path.partition("?")[0].strip("/").partition("/")
    value = int(number_text) if number_text.isdigit() else 0
    if word == "ok":
        reply(sock, b"hello")
    elif word == "echo":
        reply(sock, head + b"\r\n\r\n" + body)
    elif word == "stats":
        with lock:
            text = "%(connections)d %(requests)d %(posts)d %(most)d" % counts
        reply(sock, text.encode())
    elif word == "hits":
        with lock:
            text = "%d" % hits.get("/" + number_text, 0)
        reply(sock, text.encode())
    elif word == "break":
        with lock:
            broken.symmetric_difference_update([number_text])
        reply(sock, b"done")
    elif word == "keys":
        keys(sock, number_text)
    elif word == "slow":
        time.sleep(value / 1000)
        reply(sock, b"late")
    elif word == "hang":
        time.sleep(60)
    elif word == "drop":
        return False
    elif word == "reset":
        reply(sock, b"0123456789", length=100)
        time.sleep(0.05)
        cut(sock)
        return False
    elif word == "short":
        reply(sock, b"0123456789", length=100)
        return False
    elif word == "exact":
        reply(sock, b"x" * value)
    elif word == "endless":
        sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        forever(sock, b"x" * 65536)
    elif word == "announced":
        reply(sock, b"", length=10 ** 9)
        time.sleep(60)
    elif word == "headers":
        line = b"X: " + b"x" * 1019 + b"\r\n"  # 1024 bytes
        reply(sock, b"hello", headers=line * value)
    elif word == "garbage":
        sock.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        time.sleep(0.2)
        return False
    elif word == "redirect":
        reply(sock, b"", b"302 Found", b"Location: /ok\r\nSet-Cookie: a=b\r\n")
    elif word == "continue":
        sock.sendall(b"HTTP/1.1 100 Continue\r\nX-First: 1\r\n\r\n")
        reply(sock, b"hello", headers=b"X-Second: 2\r\n")
    elif word == "continues":
        sock.sendall((b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 992 + b"\r\n\r\n") * value)  # 1024 bytes each
        reply(sock, b"hello")
    elif word == "once":  # a POST on a used connection is received, and then the connection is lost
        if number > 1:
            return False
        reply(sock, b"hello")
    else:
        reply(sock, b"no such path", b"404 Not Found")
    return True


def serve(sock, context):
    rest, number = b"", 0
    try:
        if context:
            sock = context.wrap_socket(sock, server_side=True)
        while True:
            head, body, rest = read_request(sock, rest)
            if head is None:
                return
            method, path = head.split(b" ")[:2]
            number += 1
            with lock:
                counts["requests"] += 1
                counts["posts"] += method == b"POST"
                counts["now"] += 1
                counts["most"] = max(counts["most"], counts["now"])
            try:
                if not act(sock, path.decode(), head, body, number):
                    return
            finally:
                with lock:
                    counts["now"] -= 1
    except OSError:
        pass
    finally:
        sock.close()


def listen(context=None):
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def accept():
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with lock:
                counts["connections"] += 1
            threading.Thread(target=serve, args=(sock, context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def main():
    threading.stack_size(256 * 1024)
    with tempfile.TemporaryDirectory(prefix="mltoken-http-") as directory:
        ca = LocalCa(directory)
        ports = [listen()] + [listen(ca.context(name)) for name in ("good", "wrong_host", "other_ca", "expired")]
        print(*ports, ca.ca_file(), ca.ca_file("ca2"), flush=True)
        sys.stdin.read()
    os._exit(0)


main()
