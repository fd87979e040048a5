"""Sign-ins through PAM in a place of the tests' own: the company's authority there, the configuration, and people at ssh, login
and su. Who uses this has a Place (pam_place.py) and the scripted authority."""

import json
import os
import re
import stat
import time

import pexpect
from harness import Agent, wait_until
from pam_place import HTTPS_PORT, PASSWORD, PEOPLE, SECURITY

ISSUER = "https://localhost/oidc"
CONFIG, MAP, SPOOL = "/etc/mltoken/pam.conf", "/etc/mltoken/pam.map", "/run/mltoken/handoff"
SUBJECTS = {"mlt-alice": "sub-alice-1", "mlt-bob": "sub-bob-2"}
# as the documentation has them for /etc/pam.d/sshd
AUTH = "auth [success=done ignore=ignore default=die] pam_mltoken.so"
ACCOUNT = "account [success=ok ignore=ignore default=bad] pam_mltoken.so"
SESSION = "session optional pam_mltoken.so"
ENTER = re.compile(r"press enter[^\n]*", re.I)
SHELL = "READY>"


class Pages:
    """What people decide in their browsers."""

    def __init__(self, authority):
        self.authority = authority

    def codes(self):
        return self.authority.device_codes()

    def decide(self, known, person="alice", deny=False):
        """What a person does at the page with the first code after so many known ones. Returns the code."""
        wait_until(lambda: len(self.codes()) > known)
        code = self.codes()[known].user_code
        (self.authority.deny if deny else self.authority.approve)(code, person)
        return code


class Company(Pages):
    """Where the people of the place sign in: the scripted authority, on the place's https port."""

    def __init__(self, place, authority):
        super().__init__(authority)
        self.place, self.listener = place, None
        place.write("/etc/mltoken/ca.pem", open(authority.ca_file, encoding="ascii").read())
        self.up()

    def up(self):
        if self.listener is None:
            sock = self.place.listen("127.0.0.1", HTTPS_PORT)
            _, self.listener = self.authority.server.listen(None, 0, self.authority.ca.context(), sock)

    def down(self):
        """Connection refused."""
        if self.listener is not None:
            self.authority.unlisten(self.listener)
            self.listener = None
        self.authority.drop_connections()


def profile(client="device", **more):
    return {"grant": "device_code", "authority": ISSUER, "client_id": client, "scope": "openid offline_access", "ca_file": "/etc/mltoken/ca.pem", **more}


def section(head, keys):
    return f"[{head}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items() if v is not None)


def map_lines(subjects=None):
    return "".join(f"{ISSUER} sub:{sub} {user}\n" for user, sub in (SUBJECTS if subjects is None else subjects).items())


def configure(place, company=None, **keys):
    """pam.conf with these keys of [pam] over the usual ones, the map file, and /etc/pam.d as Debian has it."""
    pam = {"profile": "company", "map": MAP, "rate": "no", **keys}
    text = section("pam", pam) + section("profile company", company or profile())
    place.write(CONFIG, text, mode=0o640, group=place.helper_gid())
    place.write(MAP, map_lines())
    for name, debian in place.debian.items():
        place.write("/etc/pam.d/" + name, debian)


def put_in_stack(place, *services, args="", session=True):
    """The documented lines before Debian's own; for su after the one that lets root pass."""
    for name in services:
        lines = place.debian[name].splitlines()
        at = next((i + 1 for i, line in enumerate(lines) if "pam_rootok.so" in line), 0)
        lines[at:at] = [f"{AUTH} {args}".rstrip(), f"{ACCOUNT} {args}".rstrip()]
        place.write("/etc/pam.d/" + name, "\n".join(lines + ([f"{SESSION} {args}".rstrip()] if session else [])) + "\n")


class Person:
    """Somebody at a terminal, before a program that asks through PAM."""

    def __init__(self, company, child):
        self.company, self.child, self.shown = company, child, ""

    def prompt(self, timeout=60):
        """The text until the line that says to press Enter, with it."""
        self.child.expect(ENTER, timeout)
        text = self.child.before + self.child.after
        self.shown += text
        return text

    def enter(self):
        self.child.sendline("")

    def sign_in(self, person="alice", deny=False):
        """Through the prompt: reads the code, decides in the browser, presses Enter."""
        text = self.prompt()
        known = next(i for i, code in enumerate(self.company.codes()) if code.user_code in text)
        self.company.decide(known, person, deny)
        self.enter()
        return self

    def password(self, word):
        self.child.expect("assword: ?")
        self.child.sendline(word)
        return self

    def shell(self, timeout=60):
        """Waits for a shell and gives it a prompt of ours."""
        self.child.expect(r"[$#] $", timeout)
        self.shown += self.child.before
        self.child.sendline(f"stty -echo; PS1='{SHELL[:3]}''{SHELL[3:]}'")
        self.child.expect_exact(SHELL)
        return self

    def __call__(self, command, timeout=60):
        """What a command of the shell printed."""
        self.child.sendline(command)
        self.child.expect_exact(SHELL, timeout)
        return self.child.before.replace("\r\n", "\n").strip("\n")

    def leave(self):
        self.child.sendline("exit")
        return self.ended()

    def ended(self, timeout=90):
        """The rest of what was shown, after the end."""
        self.child.expect(pexpect.EOF, timeout)
        self.shown += self.child.before
        self.child.close()
        return self.child.before

    def refused(self, timeout=90):
        """It ends with no shell."""
        rest = self.ended(timeout)
        assert self.child.exitstatus not in (0, None), f"it let somebody in: {self.shown}"
        return rest


def ssh_words(user, *options, address="127.0.0.1", command=()):
    return ["ssh", "-F", "none", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "NumberOfPasswordPrompts=1",
            "-o", "LogLevel=INFO", *options, f"{user}@{address}", *command]


class People:
    """Opens terminals for people of the place."""

    def __init__(self, place, company):
        self.place, self.company = place, company

    def _at(self, *words, **more):
        return Person(self.company, self.place.terminal(*words, **more))

    def ssh(self, user, *options, method="keyboard-interactive", **more):
        return self._at(*ssh_words(user, "-o", f"PreferredAuthentications={method}", *options, **more))

    def login(self, user):
        return self._at("login", user)

    def su(self, user, caller, *words, **more):
        return self._at("su", *(words or ("-",)), user, user=caller, **more)

    def pamtester(self, service, user, *operations, caller=None, program="pamtester", **more):
        return self._at(program, service, user, *(operations or ("authenticate",)), user=caller, **more)


class AgentOf(Agent):
    """The agent of a person of the place, as their own systemd would have started it."""

    def __init__(self, place, user):
        self.place, self.user, self.uid = place, user, PEOPLE[user]
        self.socket = place.path(f"/run/user/{self.uid}/mltoken/agent.sock")
        self.process = None

    def start(self, profiles=None, **agent):
        text = (section("agent", agent) if agent else "") + "".join(section("profile " + n, k) for n, k in (profiles or {"company": profile()}).items())
        write_config(self.place, self.user, text)
        self.process = self.place.popen("/usr/local/bin/mltoken-agent", "--foreground", "--debug", user=self.user, stderr=None, stdout=None,
                                        env={"HOME": f"/home/{self.user}", "XDG_RUNTIME_DIR": f"/run/user/{self.uid}", "USER": self.user})
        wait_until(lambda: self.process.poll() is not None or os.path.exists(self.socket))
        assert self.process.poll() is None
        return self

    def stop(self, check=True):
        self.place.kill("mltoken-agent")
        self.place.kill("mltoken-agent-main")
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


def write_config(place, user, text):
    for folder in (".config", ".config/mltoken"):
        path = place.path(f"/home/{user}/{folder}")
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.chown(path, PEOPLE[user], PEOPLE[user])
    place.write(f"/home/{user}/.config/mltoken/config", text, mode=0o600, owner=PEOPLE[user])


def claims_of(token):
    """The claims of a JWT, unverified."""
    import base64
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def spool_is_sound(place):
    """Nobody but root may look into it; what is in it, by name."""
    if not place.exists(SPOOL):
        return []
    status = os.lstat(place.path(SPOOL))
    assert stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o700 and status.st_uid == 0, oct(status.st_mode)
    for name in place.listdir(SPOOL):
        status = os.lstat(place.path(f"{SPOOL}/{name}"))
        assert stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == 0, name
    return place.listdir(SPOOL)


def within(seconds, check):
    """check() came true within so many seconds of patience; returns how long it took."""
    start = time.monotonic()
    wait_until(check, seconds, 0.1)
    return time.monotonic() - start


__all__ = ["ACCOUNT", "AUTH", "AgentOf", "CONFIG", "Company", "ENTER", "ISSUER", "MAP", "PASSWORD", "PEOPLE", "People", "Person",
           "SECURITY", "SESSION", "SPOOL", "SUBJECTS", "claims_of", "configure", "map_lines", "profile", "put_in_stack", "section",
           "spool_is_sound", "ssh_words", "within", "write_config"]
