"""A private place for the PAM module: its service files, settings, map, run folder, and helpers that do as they are told."""

import base64
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile

from harness import SANITIZER, program

SUCCESS, SERVICE_ERR, SYSTEM_ERR, BUF_ERR, PERM_DENIED, AUTH_ERR = 0, 3, 4, 5, 6, 7
AUTHINFO_UNAVAIL, USER_UNKNOWN, MAXTRIES, CONV_ERR = 9, 10, 11, 19
IGNORE = 16  # what our stack makes of it: PAM_CRED_EXPIRED
PROMPT_ECHO_OFF, ERROR_MSG, TEXT_INFO = 1, 3, 4
ROOT = os.geteuid() == 0
SAN = bool(os.environ.get("MLTOKEN_SAN") or "build-" in os.path.basename(os.environ.get("MLTOKEN_BUILD", "")))
NOBODY = 65534
ISSUER = "https://authority.example/realm"


def encode(value):
    value = value.encode() if isinstance(value, str) else value
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def line(word, *lists, **fields):
    """A line of the protocol; `lists` are (name, value) that may stand several times."""
    pairs = [(name.replace("__", "."), value) for name, value in fields.items() if value is not None] + list(lists)
    return word + "".join(f" {name}={encode(value)}" for name, value in pairs)


def parse(text):
    word, *fields = text.split(" ")
    return word, {name: decode(value) for name, value in (field.split("=", 1) for field in fields)}


def prompt(**more):
    return line("prompt", **{"uri": "https://authority.example/device", "code": "WDJB-MJHT", "expires_in": "600", **more})


def done(*lists, **more):
    fields = {"issuer": ISSUER, "client_id": "client", "sub": "alice-1", "overage": "no", "id_token": "ID.TOKEN.x",
              "access_token": "ACCESS-SECRET", "refresh_token": "REFRESH-SECRET", "expires_at": "4000000000",
              "scopes": "openid offline_access", "iat": "1700000000", **more}
    return line("done", *lists, **fields)


def fail(kind, text="why"):
    return line("fail", **{"class": kind, "text": text})


def say(*lines):
    """Shell: says these lines on the standard output."""
    return "".join(f"printf '%s\\n' {shlex.quote(text)}\n" for text in lines)


GOOD = say(prompt(), "pending", done())


class Run:
    """What pam_guest told."""

    def __init__(self, text, code):
        self.text = text
        self.ended = code == 0 and text.endswith("end\n")
        self.exit = code
        rows = [(row.partition(" ")[0], row.partition(" ")[2]) for row in text.split("\n")]
        self.phases = [(name, int(value)) for kind, rest in rows if kind == "phase" for name, value in [rest.split()]]
        self.changed = [rest for kind, rest in rows if kind == "changed"]
        self.asked = [(int(rest.split()[0]), bytes.fromhex(rest.split(" ", 1)[1]).decode(errors="replace"))
                      for kind, rest in rows if kind == "asked"]
        self.log = "\n".join(rest for kind, rest in rows if kind == "log")
        self.pamenv = dict(rest.split("=", 1) for kind, rest in rows if kind == "pamenv")
        self.calls = [int(rest) for kind, rest in rows if kind == "calls"]

    @property
    def codes(self):
        return [code for _, code in self.phases]

    @property
    def prompts(self):
        return [text for style, text in self.asked if style == PROMPT_ECHO_OFF]

    @property
    def told(self):
        return [text for style, text in self.asked if style != PROMPT_ECHO_OFF]


class Guest:
    """One private place. `ordinary`: as a user who is not root, with what that means for the helper."""

    def __init__(self, ordinary):
        self.ordinary = ordinary
        self.path = tempfile.mkdtemp(prefix="mltoken-pam-")
        os.chmod(self.path, 0o755)
        self.uid = NOBODY if ROOT else os.getuid()
        self.user = pwd.getpwuid(self.uid).pw_name
        for name in ("services", "libexec", "run", "told"):
            os.mkdir(self.file(name))
            os.chmod(self.file(name), 0o755)
        os.chmod(self.file("told"), 0o777)
        for name in ("pam_mltoken.so", "pam_guest"):
            shutil.copy(program(name), self.file(name))
        if ROOT and ordinary:
            os.chown(self.file("run"), NOBODY, NOBODY)
        self.arguments = {"config": self.file("pam.conf"), "libexec": self.file("libexec"), "run": self.file("run"),
                          "helper_user": "nobody", "min_uid": "1"}
        self.config(map=self.file("map"))
        self.map(f"{ISSUER} sub:alice-1 {self.user}")
        self.service()
        self.login(GOOD)
        self.importer("cat > /dev/null\n" + say("ok"))

    def file(self, *names):
        return os.path.join(self.path, *names)

    def write(self, name, text, mode=0o644):
        if os.path.lexists(self.file(name)):
            os.remove(self.file(name))
        with open(self.file(name), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.chmod(self.file(name), mode)
        return self.file(name)

    def config(self, _text="", **keys):
        return self.write("pam.conf", "[pam]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()) + _text)

    def map(self, *lines):
        return self.write("map", "".join(text + "\n" for text in lines))

    def service(self, *more, name="guest", **arguments):
        """The module's codes come out as they are, and PAM_IGNORE as one that it never gives."""
        words = [f"{key}={value}" for key, value in {**self.arguments, **arguments}.items() if value is not None]
        module = " ".join([self.file("pam_mltoken.so"), *words, *more])
        ignored = "pam_debug.so auth=cred_expired cred=cred_expired acct=cred_expired"
        self.write(f"services/{name}", "".join(
            f"{kind} [success=1 ignore=ignore default=die] {module}\n{kind} [default=die] {ignored}\n"
            f"{kind} required pam_permit.so\n" for kind in ("auth", "account")) + f"session [success=ok default=bad] {module}\n")
        self.write("services/other", "auth required pam_deny.so\naccount required pam_deny.so\n")

    def helper(self, name, script):
        if script is None:
            os.remove(self.file("libexec", name))
        else:
            self.write(f"libexec/{name}", script if script.startswith("#!") else "#!/bin/sh\n" + script, 0o755)

    def login(self, script):
        self.helper("mltoken-pam-login", script)

    def importer(self, script):
        self.helper("mltoken-pam-import", script)

    def command(self, *words, user=None, service="guest"):
        command = [self.file("pam_guest"), self.file("services"), service, user or self.user, *words]
        if ROOT and self.ordinary:
            command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
        return command

    def run(self, *words, user=None, service="guest", timeout=90, env=None, **more):
        result = subprocess.run(self.command(*words, user=user, service=service), capture_output=True, text=True,
                                errors="replace", timeout=timeout, stdin=subprocess.DEVNULL, check=False,
                                env={"PATH": os.environ["PATH"], **(env or {})}, **more)
        assert not SANITIZER.search(result.stderr), result.stderr
        run = Run(result.stdout, result.returncode)
        assert run.ended, (result.returncode, result.stdout, result.stderr)
        return run

    def auth(self, *words, **more):
        """The code of one auth, in which nothing about the process was changed."""
        run = self.run(*words, "auth", **more)
        assert run.changed == []
        return run

    def records(self):
        folder = self.file("run", "handoff")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def told(self, name):
        with open(self.file("told", name), encoding="utf-8") as file:
            return file.read()

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)
