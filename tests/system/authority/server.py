"""HTTP/1.1 on asyncio, in a thread of its own: light enough for hundreds of requests at once on a small machine.

A Connection owns its transport and serves one request at a time. What is answered comes from the Authority; what goes
wrong on the way comes from its faults.
"""

import asyncio
import base64
import email.utils
import http.client
import json
import socket
import struct
import threading
import time
import urllib.parse

from . import azure, faults
from .dialects import route
from .endpoints import Response, json_response
from .mutual import shown

MAX_REQUEST = 4 << 20
BACKLOG = 4096


class Request:
    """One request, parsed. form and query hold the last value of each name."""

    def __init__(self, method, target, headers, body, scheme, local):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        split = urllib.parse.urlsplit(target)
        self.path = split.path
        self.query = dict(urllib.parse.parse_qsl(split.query, keep_blank_values=True))
        self.base = f"{scheme}://{headers.get('host', local)}"
        self.scheme = scheme
        self.form, self.form_problem = {}, None
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if body and kind == "application/x-www-form-urlencoded":
            self._parse_form(body)
        if self.path.startswith("/_control"):
            self.dialect, self.endpoint = None, "control"
        elif self.path == "/device":
            self.dialect, self.endpoint = None, "browser"
        else:
            self.dialect, self.endpoint = azure.route(self.path) or route(self.path)
            self.endpoint = self.endpoint or "unknown"
        self.client = self._client()

    def _parse_form(self, body):
        try:
            pairs = urllib.parse.parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True,
                                           errors="strict")
        except ValueError as error:
            self.form_problem = f"malformed form: {error}"
            return
        self.form = dict(pairs)
        if len(self.form) != len(pairs):
            self.form_problem = "a parameter is repeated"

    def _client(self):
        header = self.headers.get("authorization", "")
        if header[:6].lower() == "basic ":
            try:
                name = base64.b64decode(header[6:]).decode("utf-8", "replace").partition(":")[0]
                return urllib.parse.unquote_plus(name)
            except ValueError:
                return None
        return self.form.get("client_id")


class Record:
    """What is kept of a request. finished and aborted are times, set later."""

    __slots__ = ("endpoint", "method", "path", "query", "headers", "form", "body", "time", "client", "peer_port", "base",
                 "certificate", "status", "finished", "aborted", "grant")

    def __init__(self, request, peer_port):
        self.endpoint, self.method, self.path, self.query = (request.endpoint, request.method, request.path,
                                                             request.query)
        self.headers, self.form, self.client, self.base = request.headers, request.form, request.client, request.base
        self.body, self.certificate = request.body, request.certificate
        self.grant = request.form.get("grant_type")
        self.time, self.peer_port = time.time(), peer_port
        self.status = self.finished = self.aborted = None

    def public(self):
        values = {name: getattr(self, name) for name in self.__slots__}
        values["body"] = values["body"].decode("utf-8", "replace")
        return values


class Aborted(Exception):
    """The connection is gone, on purpose or not."""


class Connection(asyncio.Protocol):
    def __init__(self, authority, scheme, local):
        self.authority, self.scheme, self.local = authority, scheme, local
        self.transport = self.task = None
        self.buffer = bytearray()
        self.ended = False

    # asyncio's calls

    def connection_made(self, transport):
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.peer_port = peer[1] if peer else None
        self.certificate = shown(transport)
        self.authority.connections.add(self)
        self.authority.accepted += 1

    def connection_lost(self, exc):
        self.ended = True
        self.authority.connections.discard(self)
        if self.task:
            self.task.cancel()

    def data_received(self, data):
        self.buffer += data
        if self.task is None:
            self._next()

    def eof_received(self):
        return False

    def _next(self):
        try:
            request = self._parse()
        except (ValueError, IndexError) as error:
            self._write_simple(400, str(error))
            return
        if request is not None:
            self.task = asyncio.get_running_loop().create_task(self._serve(request))

    def _parse(self):
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self.buffer) > MAX_REQUEST:
                raise ValueError("headers too long")
            return None
        lines = self.buffer[:end].decode("latin-1").split("\r\n")
        method, target, version = lines[0].split(" ")
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError("bad header line")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        if length > MAX_REQUEST:
            raise ValueError("body too long")
        if headers.get("expect", "").lower() == "100-continue" and len(self.buffer) == end + 4 and length:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(self.buffer) < end + 4 + length:
            return None
        body = bytes(self.buffer[end + 4:end + 4 + length])
        del self.buffer[:end + 4 + length]
        self.keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        if method == "CONNECT":
            headers.setdefault("host", target)
            target = "/_connect/" + target
        elif "://" in target:
            headers["x-proxied"] = target
            split = urllib.parse.urlsplit(target)
            target = split.path + ("?" + split.query if split.query else "")
        request = Request(method, target, headers, body, self.scheme, self.local)
        request.certificate = self.certificate
        return request

    def _write_simple(self, status, text):
        response = json_response({"error": text}, status)
        self.transport.write(self._head(response, len(response.body), False) + response.body)
        self.transport.close()

    async def _serve(self, request):
        authority = self.authority
        if request.endpoint == "control":
            await self._control(request)
            return
        if request.method == "CONNECT":
            await self._connect(request)
            return
        record = authority.begin(request, self.peer_port)
        try:
            with authority.lock:
                fault = authority.match_fault(request)
            if fault is None:
                delay = authority.delays.get(request.endpoint.split(":")[0], authority.delays.get("*", 0))
                if delay and request.dialect is not None:
                    await asyncio.sleep(delay)
                with authority.lock:
                    response = authority.answer(request)
                self._write(response)
            else:
                response = await self._faulty(request, fault)
            record.status = response.status
        except Aborted:
            record.aborted = time.time()
            return
        except asyncio.CancelledError:
            record.aborted = time.time()
            raise
        finally:
            authority.end(record)
        self._finish()

    def _finish(self):
        self.task = None
        if not self.keep:
            self.transport.close()
        elif self.buffer and not self.ended:
            self._next()

    async def _control(self, request):
        loop = asyncio.get_running_loop()
        response = await loop.run_in_executor(None, self.authority.control, request)
        self._write(response)
        self._finish()

    # Writing

    def _head(self, response, length, keep):
        reason = http.client.responses.get(response.status, "Unknown")
        date = email.utils.formatdate(time.time() + self.authority.skew, usegmt=True)
        lines = [f"HTTP/1.1 {response.status} {reason}", f"Date: {date}"]
        if response.content_type:
            lines.append("Content-Type: " + response.content_type)
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        if not keep:
            lines.append("Connection: close")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n" + response.raw_headers + b"\r\n"

    def _write(self, response):
        self.transport.write(self._head(response, len(response.body), self.keep) + response.body)

    # Faults

    async def _faulty(self, request, fault):
        authority = self.authority
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.hold:
            await authority.wait_for_release(fault)
        if fault.processes():
            with authority.lock:
                response = authority.answer(request)
        elif fault.hang == "before" or fault.reset == "before" or fault.close == "before":
            response = Response(0)
        else:
            response = faults.replace(fault, Response(), request)
        if response.status:
            faults.spoil(fault, response)
        if fault.raw_headers:
            response.raw_headers = fault.raw_headers.encode("latin-1")
        if fault.headers_huge:
            line = b"X-Padding: " + b"y" * 1000 + b"\r\n"
            response.raw_headers += line * int(fault.headers_huge * (1 << 20) / len(line))
        await self._deliver(fault, response)
        return response

    async def _deliver(self, fault, response):
        if fault.hang == "before":
            await self._hang(fault)
        if "before" in (fault.reset, fault.close):
            self._cut(fault)
        length = len(response.body)
        if fault.length is not None:
            length = max(0, length + {"short": -5, "long": 5}.get(fault.length, fault.length))
        if fault.chunked:
            response.headers["Transfer-Encoding"] = "chunked"
            length = None
        head = self._head(response, length, self.keep)
        if fault.dribble_head:
            await self._dribble(head, fault.dribble_head)
        else:
            self.transport.write(head)
        if fault.hang == "after":
            await self._hang(fault)
        if "headers" in (fault.reset, fault.close):
            await asyncio.sleep(0.02)
            self._cut(fault)
        if "body" in (fault.reset, fault.close):
            self.transport.write(response.body[:len(response.body) // 2])
            await asyncio.sleep(0.02)
            self._cut(fault)
        if fault.dribble:
            await self._dribble(response.body, fault.dribble)
        elif fault.chunked:
            self._write_chunks(response.body)
        else:
            await self._write_large(response.body)
        if fault.length == "long" or (isinstance(fault.length, (int, float)) and fault.length > 0):
            self.transport.close()
            raise Aborted
        if fault.length is not None:
            self.keep = False

    def _write_chunks(self, body):
        for at in range(0, len(body), 7):
            part = body[at:at + 7]
            self.transport.write(b"%x\r\n" % len(part) + part + b"\r\n")
        self.transport.write(b"0\r\n\r\n")

    async def _write_large(self, body):
        for at in range(0, len(body), 1 << 18):
            self.transport.write(body[at:at + (1 << 18)])
            while self.transport.get_write_buffer_size() > 1 << 20:
                await asyncio.sleep(0.002)

    async def _dribble(self, data, seconds):
        for byte in data:
            self.transport.write(bytes([byte]))
            await asyncio.sleep(seconds)

    async def _hang(self, fault):
        await self.authority.wait_for_release(fault)
        self.transport.abort()
        raise Aborted

    def _cut(self, fault):
        if fault.reset:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()
        raise Aborted

    # A CONNECT proxy, for what is configured to use one

    async def _connect(self, request):
        self.authority.proxied.append(request.target[len("/_connect/"):])
        self.authority.shown_to_proxy.append(self.certificate)
        host, _, port = request.target[len("/_connect/"):].rpartition(":")
        try:
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, ValueError):
            self._write_simple(502, "cannot connect")
            return
        self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.data_received = writer.write
        if self.buffer:
            writer.write(bytes(self.buffer))
        try:
            while data := await reader.read(65536):
                self.transport.write(data)
        finally:
            writer.close()
            self.transport.close()


class ServerThread:
    """The loop and its listeners."""

    def __init__(self, authority):
        self.authority = authority
        self.loop = asyncio.new_event_loop()
        self.servers = []
        ready = threading.Event()

        def run():
            asyncio.set_event_loop(self.loop)
            self.loop.call_soon(ready.set)
            self.loop.run_forever()
            self.loop.close()

        self.thread = threading.Thread(target=run, name="authority", daemon=True)
        self.thread.start()
        ready.wait()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def listen(self, host, port, context=None, sock=None):
        """Opens a listener, or takes a bound socket; returns its port and the server."""
        scheme = "https" if context else "http"

        async def start():
            own = sock
            if own is None:
                own = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
                own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                own.bind((host, port))
            name, bound = own.getsockname()[:2]
            local = f"[{name}]:{bound}" if ":" in name else f"{name}:{bound}"
            server = await self.loop.create_server(lambda: Connection(self.authority, scheme, local), sock=own,
                                                   ssl=context, backlog=BACKLOG)
            self.servers.append(server)
            return bound, server

        return self.call(start())

    def unlisten(self, server):
        """Closes a listener and lets go of its port."""

        async def stop():
            server.close()

        self.servers.remove(server)
        self.call(stop())

    def drop_connections(self):
        async def drop():
            for connection in list(self.authority.connections):
                connection.transport.abort()

        self.call(drop())

    def stop(self):
        async def stop():
            for server in self.servers:
                server.close()
            for connection in list(self.authority.connections):
                connection.transport.abort()
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.call(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


def json_body(request):
    return json.loads(request.body) if request.body else {}
