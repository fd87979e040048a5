"""mltoken doctor --pam: each thing that can be wrong with a host is found, and the line says what to change. The hosts are
trees of the tests' own (--root)."""

import os
import shutil

import pytest
from harness import ROOT, program, wait_until
from login_helper import issuer, person

EXAMPLES = os.path.join(ROOT, "pam", "examples")
COMMON = {"auth": "auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\nauth required pam_permit.so\n",
          "account": "account required pam_unix.so\n",
          "session": "session required pam_unix.so\nsession optional pam_systemd.so\n"}
AUTH = "auth [success=done ignore=ignore default=die] pam_mltoken.so"
ACCOUNT = "account [success=ok ignore=ignore default=bad] pam_mltoken.so"
SESSION = "session optional pam_mltoken.so"


class Host:
    """A tree that is as it should be."""

    def __init__(self, home, authority, mltoken):
        self.top, self.mltoken, self.authority = home._dir("host"), mltoken, authority
        os.chmod(self.top, 0o755)
        for name, text in COMMON.items():
            self.write("/etc/pam.d/common-" + name, text)
        self.stack()
        self.write("/etc/passwd", f"root:x:0:0::/root:/bin/sh\n_mltoken:x:990:{os.getegid()}::/:/usr/sbin/nologin\n"
                                  "alice:x:2001:2001::/home/alice:/bin/sh\nbackup:x:34:34::/:/bin/sh\n")
        self.write("/lib/x86_64-linux-gnu/security/pam_mltoken.so", "")
        for name in ("login", "import"):
            self.write(f"/usr/local/libexec/mltoken/mltoken-pam-{name}", "", 0o755)
        self.profile = person(authority)
        self.config()
        self.write("/etc/mltoken/pam.map", f"# who is who\n{issuer(authority)} sub:sub-alice-1 alice\n")
        self.write("/etc/mltoken/config", self.section("profile company", self.profile))
        self.write("/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM no\nKbdInteractiveAuthentication no\n")
        shutil.copy(os.path.join(EXAMPLES, "sshd_config.d-mltoken.conf"), self.folder("/etc/ssh/sshd_config.d") + "/mltoken.conf")
        wants = self.folder("/etc/systemd/user/sockets.target.wants")
        os.symlink("/usr/lib/systemd/user/mltoken-agent.socket", wants + "/mltoken-agent.socket")

    def path(self, path):
        return self.top + path

    def folder(self, path):
        os.makedirs(self.path(path), mode=0o755, exist_ok=True)
        return self.path(path)

    def write(self, path, text, mode=0o644):
        self.folder(os.path.dirname(path))
        with open(self.path(path), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path(path), mode)

    @staticmethod
    def section(head, keys):
        return f"[{head}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items() if v is not None)

    def config(self, profile=None, mode=0o640, **keys):
        pam = {"profile": "company", "map": "/etc/mltoken/pam.map", **keys}
        self.write("/etc/mltoken/pam.conf", self.section("pam", pam) + self.section("profile company", {**self.profile, **(profile or {})}), mode)

    def stack(self, auth=AUTH, account=ACCOUNT, session=SESSION, service="sshd", before=True):
        first = f"{auth}\n@include common-auth\n" if before else f"@include common-auth\n{auth}\n"
        self.write("/etc/pam.d/" + service, f"# PAM\n{first}{account}\n@include common-account\n@include common-session\n{session}\n")

    def sshd(self, *lines):
        self.write("/etc/ssh/sshd_config.d/mltoken.conf", "\n".join(lines) + "\n")

    def look(self, *args):
        return self.mltoken("doctor", "--pam", "--root", self.top, *args)

    def fine(self, *args):
        done = self.look(*args)
        assert done.code == 0 and "FAIL" not in done.out, done.out
        return done.out

    def wrong(self, *words, code=3, args=()):
        """One thing is wrong, and it is said with these words."""
        done = self.look(*args)
        failed = [line for line in done.out.splitlines() if line.startswith("FAIL")]
        assert done.code == code and len(failed) == 1, done.out
        for word in words:
            assert word in failed[0], f"{word!r} is not in {failed[0]!r}"
        return done.out


@pytest.fixture
def host(home, authority, mltoken):
    return Host(home, authority, mltoken)


def test_a_host_that_is_as_it_should_be(host, authority):
    out = host.fine("--user", "alice")
    for words in ("signs people in by the module", "asks the module for accounts", "hands sign-ins to the person's agent",
                  "[pam] is understood", "sshd uses PAM", "publickey,keyboard-interactive:pam", "alice is sub:sub-alice-1",
                  "has the profile company", "systemd starts agents", "gives out codes", "pam.map is understood"):
        assert words in out, out
    assert authority.count("device") == 1
    wait_until(lambda: authority.count("token") == 0)  # the helper was told to stop


# ---- cached tokens

def test_cached_tokens_behind_a_key(host):
    host.stack(auth=AUTH + " cached=yes")
    assert "a key before a cached token" in host.fine()
    host.stack(auth=AUTH + " cached=yes")
    host.stack(service="su")
    host.fine()


@pytest.mark.parametrize("methods", [None, "any", "keyboard-interactive:pam", "keyboard-interactive:pam,publickey", "password,keyboard-interactive",
                                     "publickey,keyboard-interactive keyboard-interactive", "publickeys,keyboard-interactive"])
def test_cached_tokens_without_a_key(host, methods):
    host.stack(auth=AUTH + " cached=yes")
    host.sshd("UsePAM yes", "KbdInteractiveAuthentication yes", *([f"AuthenticationMethods {methods}"] if methods else []))
    host.wrong("cached = yes refuses everybody of whom no key was asked", "publickey,keyboard-interactive:pam")


def test_cached_tokens_in_other_services(host):
    host.config(cached="yes")
    host.fine()
    host.stack(service="su")
    host.wrong("/etc/pam.d/su", "behind the auth line of /etc/pam.d/sshd")
    host.stack(service="su", auth=AUTH + " cached=no")
    host.fine()
    host.config()
    host.stack(service="su", auth=AUTH + " cached=yes")
    host.wrong("/etc/pam.d/su", "sshd alone")


# ---- the stack

@pytest.mark.parametrize("control,words", [
    ("sufficient", ["a password opens too", AUTH]), ("optional", ["a password opens too", AUTH]),
    ("[success=done ignore=ignore default=ignore]", ["a password opens too"]),
    ("[success=done default=die]", ["locks out root", AUTH]),
])
def test_what_the_auth_line_does(host, control, words):
    host.stack(auth=f"auth {control} pam_mltoken.so")
    host.wrong("/etc/pam.d/sshd", *words)


@pytest.mark.parametrize("control", ["required", "requisite", "[success=ok ignore=ignore default=bad]"])
def test_other_words_that_will_do(host, control):
    host.stack(auth=f"auth {control} pam_mltoken.so")
    host.fine()


def test_lines_that_are_not_there(host):
    host.stack(auth="# " + AUTH)
    host.wrong("no auth line", AUTH)
    host.stack(account="")
    host.wrong("no account line", ACCOUNT)
    host.stack(session="")
    host.wrong("no session line", "pam-auth-update --enable mltoken")


def test_the_order(host):
    host.stack(before=False)
    host.wrong("after pam_unix.so", "before @include common-auth")
    host.write("/etc/pam.d/sshd", f"{AUTH}\n@include common-auth\n{ACCOUNT}\n@include common-account\n{SESSION}\n@include common-session\n")
    host.wrong("before pam_systemd.so")
    host.stack(auth="", session="")
    host.write("/etc/pam.d/common-auth", f"{AUTH}\n{COMMON['auth']}")
    host.write("/etc/pam.d/common-session", f"{COMMON['session']}{SESSION}\n")
    host.wrong("sudo and cron would wait", "/etc/pam.d/sshd")


@pytest.mark.parametrize("line", ["auth", "account", "session"])
def test_arguments_that_are_not_known(host, line):
    lines = {"auth": AUTH, "account": ACCOUNT, "session": SESSION}
    host.stack(**{line: lines[line] + " use_first_pass"})
    host.wrong("use_first_pass", line, "key=value")


def test_an_argument_names_another_file(host):
    host.stack(auth=AUTH + " config=/etc/elsewhere.conf [helper_user=backup]")
    os.rename(host.path("/etc/mltoken/pam.conf"), host.path("/etc/elsewhere.conf"))
    host.write("/etc/passwd", f"backup:x:34:{os.getegid()}::/:/bin/sh\n")
    assert "the helper runs as backup" in host.fine()


def test_other_services(host):
    host.stack(service="login")
    assert "/etc/pam.d/login signs people in" in host.fine()
    host.stack(service="login", auth="auth sufficient pam_mltoken.so")
    host.wrong("/etc/pam.d/login", "a password opens too")


def test_no_module(host):
    os.unlink(host.path("/lib/x86_64-linux-gnu/security/pam_mltoken.so"))
    host.wrong("pam_mltoken.so is not where PAM looks", "pamdir=")
    host.write("/opt/pam_mltoken.so", "")
    host.stack(auth=AUTH.replace("pam_mltoken.so", "/opt/pam_mltoken.so"))
    host.fine()


# ---- sshd

def test_sshd(host):
    good = ["UsePAM yes", "KbdInteractiveAuthentication yes", "AuthenticationMethods publickey,keyboard-interactive:pam"]
    host.sshd(*good[1:])
    host.wrong("does not use PAM", "UsePAM yes")
    host.sshd(good[0], good[2])
    host.wrong("cannot ask anything", "KbdInteractiveAuthentication yes")
    host.sshd(*good[:2], "AuthenticationMethods publickey")
    host.wrong("never asks the module", good[2])
    host.sshd(*good, "LoginGraceTime 1m")
    host.wrong("60 s", "100 s", "max_wait")
    host.sshd(*good, "LoginGraceTime 1m")
    host.config(max_wait="50")
    host.fine()
    host.sshd(*good[:2])
    assert "phished" in host.fine()
    host.sshd("usepam=yes", "kbdinteractiveauthentication yes", "Match User root", "UsePAM no")
    host.fine()
    shutil.rmtree(host.path("/etc/ssh"))
    assert "nobody comes in by ssh" in host.fine()


# ---- files and users

def test_modes_and_owners(host):
    host.config(mode=0o660)
    host.wrong("pam.conf", "chmod go-w")
    host.config(mode=0o600)
    host.wrong("cannot be read by the helper", "chgrp _mltoken", "chmod 640")
    host.config(mode=0o644)
    assert "can be read by everybody" in host.fine()
    host.config()
    os.chmod(host.path("/etc/mltoken/pam.map"), 0o666)
    host.wrong("pam.map", "chmod go-w")
    os.unlink(host.path("/etc/mltoken/pam.map"))
    host.wrong("pam.map", "--map")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
@pytest.mark.parametrize("path", ["/etc/mltoken/pam.conf", "/etc/mltoken/pam.map", "/usr/local/libexec/mltoken/mltoken-pam-login"])
def test_a_file_of_somebody_else(host, path):
    os.chown(host.path(path), 2001, -1)
    out = host.look().out
    assert f"FAIL  {path} belongs to uid 2001, who could let anybody in: chown root" in out


def test_no_pam_conf(host):
    os.unlink(host.path("/etc/mltoken/pam.conf"))
    host.wrong("/etc/mltoken/pam.conf", "No such file", "example")
    os.symlink("pam.map", host.path("/etc/mltoken/pam.conf"))
    host.wrong("no regular file")


@pytest.mark.parametrize("keys,words", [
    ({"colour": "red"}, "colour"), ({"user_claim": "sub"}, "exactly one of"), ({"map": None}, "exactly one of"),
    ({"map": None, "user_claim": "email"}, "mutable_claim=accepted"), ({"min_uid": "0"}, "min_uid"), ({"rate": "5"}, "rate"),
    ({"export": "a:PATH"}, "export"),
])
def test_settings_that_the_module_refuses(host, keys, words):
    host.config(**keys)
    host.wrong("/etc/mltoken/pam.conf", words, "nobody but root")


def test_a_fallback_that_has_no_effect(host):
    host.config(fallback="password")
    host.wrong("authinfo_unavail=ignore")
    host.stack(auth=AUTH.replace("default", "authinfo_unavail=ignore default"))
    host.fine()


def test_a_map_with_a_bad_line(host, authority):
    host.write("/etc/mltoken/pam.map", f"{issuer(authority)} sub:sub-alice-1 alice\n{authority.oidc} alice\n")
    host.wrong("pam.map", "line 2", "lets nobody in")


def test_users(host):
    text = "root:x:0:0::/root:/bin/sh\n"
    host.write("/etc/passwd", text)
    host.wrong("no user _mltoken", "systemd-sysusers")
    host.write("/etc/passwd", text + "_mltoken:x:0:0::/:/bin/sh\n")
    host.wrong("root by its uid")


@pytest.mark.parametrize("name", ["login", "import"])
def test_helpers(host, name):
    path = f"/usr/local/libexec/mltoken/mltoken-pam-{name}"
    os.chmod(host.path(path), 0o644)
    host.wrong(path, "chmod 755")
    os.unlink(host.path(path))
    host.wrong(path, "install it")


def test_the_folder_of_records(host):
    os.makedirs(host.path("/run/mltoken/handoff"), 0o755)
    os.chmod(host.path("/run/mltoken/handoff"), 0o755)
    host.wrong("/run/mltoken/handoff", "remove it")
    os.chmod(host.path("/run/mltoken/handoff"), 0o700)
    host.fine()


# ---- a person

def test_people(host, authority):
    assert "below min_uid" in host.fine("--user", "backup")
    host.wrong("there is no user bob", args=("--user", "bob"))
    host.write("/etc/mltoken/pam.map", f"{issuer(authority)} sub:sub-alice-1 alicex\n#{issuer(authority)} sub:sub-alice-1 alice\n")
    host.wrong("no line of /etc/mltoken/pam.map is for alice", "--map --user alice", args=("--user", "alice"))
    host.config(map=None, user_claim="unix_name")
    assert "claim unix_name" in host.fine("--user", "alice")


def test_the_profile_of_their_agent(host, authority):
    alice = ("--user", "alice")
    os.unlink(host.path("/etc/mltoken/config"))
    host.wrong("no profile company", "/etc/mltoken/config", args=alice)
    host.write("/home/alice/.config/mltoken/config", host.section("profile company", host.profile))
    host.fine(*alice)
    host.write("/home/alice/.config/mltoken/config", host.section("profile company", {**host.profile, "client_id": "other"}))
    host.wrong("another authority or client_id", args=alice)
    host.config(handoff="no")
    host.fine(*alice)


def test_nobody_starts_an_agent(host):
    os.unlink(host.path("/etc/systemd/user/sockets.target.wants/mltoken-agent.socket"))
    host.wrong("systemctl --global enable mltoken-agent.socket")
    host.config(handoff_fallback="start")
    host.fine()


# ---- the authority

def test_an_authority_that_is_not_there(host):
    host.config(profile={"authority": "https://127.0.0.1:9/oidc"})
    host.wrong("cannot be reached", code=6)


def test_an_authority_that_refuses(host, authority):
    host.config(profile={"client_id": "nobody"})
    host.wrong("no code can be had", "unknown client")
    authority.switch("device", False)
    host.config()
    host.wrong("no code can be had")


@pytest.mark.parametrize("profile,words", [({"grant": "client_credentials", "client_secret": "file:/x"}, "device_code"), ({"scope": "api"}, "openid"),
                                           pytest.param({"authority": "http://127.0.0.1:9/oidc"}, "is http",
                                                        marks=pytest.mark.skipif(os.geteuid() != 0, reason="root's file")),
                                           ({"authority": "https://login.microsoftonline.com/common/v2.0"}, "many tenants")])
def test_a_profile_that_cannot_say_who_somebody_is(host, profile, words):
    host.config(profile=profile)
    host.wrong("no code can be had", words)


# ---- the command

@pytest.mark.parametrize("args", [("--user", "alice"), ("--root", "/"), ("--pam", "me"), ("--pam", "--root", "x")])
def test_usage(mltoken, args):
    mltoken("doctor", *args).failed(2)


def test_what_comes_from_outside_is_cleaned(host):
    host.stack(auth=AUTH + " \x1b[31mred\u202e=1")
    out = host.look().out
    assert "\x1b" not in out and "\u202e" not in out and "FAIL" in out


def test_nothing_is_changed_and_no_secret_shown(host):
    host.config(profile={"client_secret": "file:/etc/mltoken/secret"})
    before = sorted((path, os.lstat(os.path.join(path, f)).st_mtime_ns, f) for path, _, files in os.walk(host.top) for f in files)
    host.look("--user", "alice")
    after = sorted((path, os.lstat(os.path.join(path, f)).st_mtime_ns, f) for path, _, files in os.walk(host.top) for f in files)
    assert before == after
    assert os.path.exists(program("mltoken"))
