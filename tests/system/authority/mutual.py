"""TLS with client certificates (RFC 8705): listeners that ask for one, and clients that are known by theirs."""

import contextlib
import hashlib
import os
import socket
import ssl
import subprocess
import threading

from .dialects import Problem
from .keys import b64url


def shown(transport):
    """x5t#S256 of the certificate that the peer of a connection showed, or None."""
    tls = transport.get_extra_info("ssl_object")
    der = tls.getpeercert(True) if tls else None
    return b64url(hashlib.sha256(der).digest()) if der else None


class Gatekeeper:
    """An https listener that nobody gets past: it ends TLS as other servers do, with the alert that says why (asyncio
    loses it), and takes no request. `base` is its address."""

    def __init__(self, context):
        self.context, self.refused = context, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"https://localhost:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                self._refuse(self.listener.accept()[0])

    def _refuse(self, peer):
        with peer, contextlib.suppress(OSError):
            peer.settimeout(20)
            raw = socket.socket(fileno=os.dup(peer.fileno()))
            try:
                self.context.wrap_socket(peer, server_side=True)
            except ssl.SSLError:
                self.refused += 1
                raw.shutdown(socket.SHUT_WR)  # the alert first, whatever still comes
                while raw.recv(4096):
                    pass
            finally:
                raw.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class MutualTls:
    """Mixed into Authority."""

    def listen_mutual(self, required=False, host="localhost", certificate="good"):
        """An https listener that asks for a client certificate of the local authority "clients" (or one given to
        trust_client); returns its base URL."""
        context = self.mutual_context(required, certificate)
        self.mutual_contexts.append(context)
        port, _ = self.server.listen("127.0.0.1", 0, context)
        return f"https://{host}:{port}"

    def mutual_context(self, required, certificate="good"):
        context = self.ca.context(certificate)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        context.load_verify_locations(self.ca.ca_file("clients"))
        return context

    def trust_client(self, certificate_file):
        """A self-signed certificate that all those listeners take from now on."""
        for context in self.mutual_contexts:
            context.load_verify_locations(certificate_file)

    def issue_client(self, key, certificate, name="client", days="30"):
        """Puts a certificate for a private key's file beside it, issued by the authority "clients"."""
        ca, request = self.ca.ca_file("clients"), certificate + ".csr"
        ca_key = os.path.splitext(ca)[0] + ".key"
        for command in (["req", "-new", "-key", key, "-subj", "/CN=" + name, "-out", request],
                        ["x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", days,
                         "-out", certificate]):
            subprocess.run(["openssl", *command], check=True, capture_output=True)
        os.remove(request)

    def accept_certificate(self, request, form):
        """(client id, Client) of a client that is known by its certificate."""
        name = form["client_id"]
        client = self.store.client(name)
        if {"client_secret", "client_assertion"} & set(form) or "authorization" in request.headers:
            raise Problem("invalid_request", "two ways of client authentication in one request")
        if request.certificate is None:
            raise Problem("invalid_client", "no client certificate was shown", 401)
        if request.certificate != client.tls_certificate:
            raise Problem("invalid_client", "another client's certificate was shown", 401)
        return name, client
