"""A certificate authority of our own, made with the openssl command in a given directory."""

import hashlib
import os
import ssl
import subprocess
import warnings

# What each named certificate is for: (signing CA or itself, subject alternative names, days)
CERTIFICATES = {
    "good": ("ca", "DNS:localhost,IP:127.0.0.1,IP:::1,DNS:authority.test,DNS:login.microsoftonline.com", 30),
    "wrong_host": ("ca", "DNS:elsewhere.example", 30),
    "other_ca": ("ca2", "DNS:localhost,IP:127.0.0.1,IP:::1", 30),
    "self_signed": (None, "DNS:cluster.example", 30),
    "expired": ("ca", "DNS:localhost,IP:127.0.0.1,IP:::1", 0),
}


def _openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


class LocalCa:
    """Owns the files of one directory: ca.pem, ca2.pem, and NAME.pem with NAME.key, each made when first asked for."""

    def __init__(self, directory):
        self.directory = directory

    def path(self, name):
        return os.path.join(self.directory, name)

    def ca_file(self, name="ca"):
        path = self.path(name + ".pem")
        if not os.path.exists(path):
            _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                     "-subj", f"/CN=Scripted authority {name}", "-keyout", self.path(name + ".key"), "-out", path,
                     "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        return path

    def certificate(self, name="good"):
        """(certificate file, key file)"""
        cert, key = self.path(name + "-cert.pem"), self.path(name + "-cert.key")
        if not os.path.exists(cert):
            ca, names, days = CERTIFICATES[name]
            if ca is None:
                _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                         str(days), "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}", "-keyout", key,
                         "-out", cert)
                return cert, key
            ca_file = self.ca_file(ca)
            request, ext = self.path(name + ".csr"), self.path(name + ".ext")
            _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                     "-subj", f"/CN={name}", "-keyout", key, "-out", request)
            with open(ext, "w", encoding="ascii") as f:
                f.write(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
            when = ["-days", str(days)] if days else ["-days", "-1"]
            _openssl("x509", "-req", "-in", request, "-CA", ca_file, "-CAkey", self.path(ca + ".key"),
                     "-CAcreateserial", *when, "-extfile", ext, "-out", cert)
        return cert, key

    def thumbprint(self, name="good"):
        """The SHA-1 digest of a certificate, in hexadecimal."""
        with open(self.certificate(name)[0], encoding="ascii") as f:
            return hashlib.sha1(ssl.PEM_cert_to_DER_cert(f.read())).hexdigest()

    def context(self, name="good", max_version=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate(name))
        if max_version is not None:
            context.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # an old version is the point
                context.minimum_version = ssl.TLSVersion.TLSv1
                context.maximum_version = max_version
        return context
