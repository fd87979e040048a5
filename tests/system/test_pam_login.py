"""mltoken-pam-login: what it tells the PAM module, and what it never does."""

import contextlib
import fcntl
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from attack import SANITIZED
from harness import PATIENCE, memory_has, program, wait_until
from login_helper import ENVIRONMENT, Helper, children, issuer, person, wait_gone

CONFIG = "[pam]\nprofile = me\nuser_claim = nickname\n\n"


@pytest.fixture
def login(home):
    """Starts helpers: login("--claim", "email", ...) -> Helper. All are ended."""
    started = []

    def start(*args, wait="60", **more):
        started.append(Helper(home, "--max-wait", wait, *args, **more))
        return started[-1]

    yield start
    for helper in started:
        helper.close()


def write(home, keys, head=CONFIG, name="me"):
    home.config(text=head + f"[profile {name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items() if v is not None), mode=0o600)


@pytest.fixture
def setup(authority, home):
    write(home, person(authority))
    authority.set_client("device", auto_approve="alice", enforce_interval=False)
    return authority


# ---- the line protocol ----

def test_a_sign_in(authority, home, login):
    write(home, person(authority))
    helper = login("--claim", "email", "--claim", "name", "--claim", "nothing")
    prompt = helper.prompt()
    code = authority.device_codes()[0]
    assert prompt["code"] == code.user_code and prompt["uri"] == authority.https + "/device"
    assert prompt["complete"].startswith(prompt["uri"] + "?") and 880 <= int(prompt["expires_in"]) <= 900
    assert helper.line()[0] == "pending"
    authority.approve(code.user_code)
    done = helper.done()
    assert done["issuer"] == issuer(authority) and done["client_id"] == "device" and done["sub"] == "sub-alice-1"
    assert done["claim.email"] == "alice@example.org" and done["claim.email_verified"] == "false"
    assert done["claim.name"] == "Alice Example" and "claim.nothing" not in done and "claim.nickname" not in done
    assert done["overage"] == "no" and done["group"] == done["role"] == []
    assert abs(int(done["iat"]) - time.time()) < 120 and abs(int(done["expires_at"]) - time.time() - 3600) < 120
    assert sorted(done["scopes"].split()) == ["offline_access", "openid"]
    assert done["id_token"] in authority.store.id_tokens and done["access_token"] in authority.store.access_tokens
    assert done["refresh_token"] in authority.store.refresh_tokens
    assert [word for word, _ in helper.seen if word != "pending"] == ["prompt", "done"]


def test_the_profile_may_be_named_or_be_the_only_one(setup, home, login):
    assert login("--profile", "me").done()["sub"] == "sub-alice-1"
    text = login("--profile", "mi").fail("config")
    assert text == f"{home.config_path}: has no [profile mi]; did you mean me?"


def test_a_client_with_a_secret(authority, home, login):
    authority.set_client("device-conf", auto_approve="alice")
    write(home, person(authority, "device-conf", client_secret=home.secret(authority.client("device-conf").secret)))
    assert login().done()["client_id"] == "device-conf"


def test_the_address_as_a_picture(setup, login):
    prompt = login("--qr").prompt()
    rows = prompt["qr"].split("\n")
    assert 21 <= len(rows) <= 177 and all(len(row) == len(rows) and set(row) <= set("01") for row in rows)
    assert rows[0].startswith("1111111") and rows[1].startswith("1000001") and rows[0].endswith("1111111") and rows[-1].startswith("1111111")
    made = subprocess.run(["qrencode", "-l", "L", "-8", "-m", "0", "-t", "ASCII", prompt["complete"]], capture_output=True, text=True).stdout \
        if shutil.which("qrencode") else None
    assert made is None or ["".join("1" if line[i] == "#" else "0" for i in range(0, len(line), 2)) for line in made.splitlines()] == rows
    assert "qr" not in login().prompt()


# ---- the file and the profile ----

def refused(login, *args):
    helper = login(*args)
    text = helper.fail("config")
    assert [word for word, _ in helper.seen] == ["fail"]
    return text


def test_the_words_are_the_agents(setup, home, login):
    """A mistake has the same words here and in mltoken-agent --check."""
    write(home, person(setup, colour="red"))
    checked = subprocess.run([program("mltoken-agent"), "--check", home.config_path], capture_output=True, text=True, env=home.env()).stdout
    text = refused(login)
    assert text == f"{home.config_path}:11: colour: unknown key; remove it (mltoken.conf(5) has the list)" and text in checked.splitlines()


def test_the_modules_own_section_is_not_ours(setup, home, login):
    write(home, person(setup), "[pam]\nanything = goes\nanything = twice\ncommon =\n")
    login().done()
    write(home, person(setup), "[pom]\nx = 1\n")
    login().done()


def test_mistakes_of_other_profiles_are_not_ours(setup, home, login):
    home.config({"me": person(setup), "other": {"grant": "nonsense"}})
    login("--profile", "me").done()
    assert "grant" in refused(login, "--profile", "other")
    assert refused(login).endswith("has several profiles; name one with profile = NAME in [pam]")


UNFIT = {
    "grant": ({"grant": "client_credentials", "client_secret": "file:/x"}, "grant: shows no code"),
    "browser": ({"grant": "authorization_code"}, "grant: shows no code"),
    "password": ({"grant": "password", "username": "u", "password": "file:/x"}, "grant: shows no code"),
    "no-openid": ({"scope": "offline_access"}, "scope: has no openid"),
    "no-scope": ({"scope": None}, "scope: has no openid"),
    "like-openid": ({"scope": "openidx OPENID"}, "scope: has no openid"),
    "no-authority": ({"authority": None, "token_endpoint": "https://x.example/t", "device_authorization_endpoint": "https://x.example/d"},
                     "authority: is missing"),
    "v1": ({"authority": "https://login.microsoftonline.com/contoso.example", "dialect": "entra_v1", "resource": "https://r/"}, "entra_v1"),
    "stored": ({"client_secret": "stored"}, "client_secret: is kept where"),
    "env": ({"client_secret": "env:X"}, "client_secret: is kept where"),
    **{f"shared-{i}": ({"authority": address}, "many tenants share") for i, address in enumerate([
        "https://login.microsoftonline.com/common/v2.0", "https://login.microsoftonline.com/organizations", "https://login.microsoftonline.com/consumers/v2.0",
        "https://login.microsoftonline.com/COMMON/v2.0", "https://login.microsoftonline.us/common", "https://login.partner.microsoftonline.cn/Common/v2.0",
        "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"])},
    "shared-tenant": ({"authority": "https://login.microsoftonline.com", "tenant": "common"}, "many tenants share"),
    "shared-elsewhere": ({"authority": "https://login.example.org/common/v2.0", "dialect": "entra"}, "many tenants share"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_profiles_that_decide_nothing(setup, home, login, name):
    keys, words = UNFIT[name]
    write(home, {**person(setup), **keys})
    text = refused(login)
    assert words in text and text.startswith(f"{home.config_path}:"), text
    assert not setup.requests()


def test_a_realm_called_common_is_nobodys(setup, home, login):
    """Tenants are Entra's: elsewhere a path is a path."""
    write(home, person(setup, base="https://127.0.0.1:9/realms/common"))
    login().fail("unreachable")


def test_files_that_are_not_believed(setup, home, login):
    path = home.config_path
    for mode in (0o620, 0o602, 0o666):
        os.chmod(path, mode)
        assert "can be written by others" in refused(login)
    os.chmod(path, 0o640)
    login().done()
    os.chown(path, 12345, 0)
    assert "another user" in refused(login)
    os.unlink(path)
    assert "no such file" in refused(login)
    os.mkfifo(path)
    assert "not a regular file" in refused(login)
    assert "not a regular file" in login(config="/dev/null").fail("config")
    assert "not a regular file" in login(config="/etc").fail("config")


def owned(home, helper_uid, file_uid):
    """How it goes as one user with another's file."""
    for folder, _, files in os.walk(home.path):
        os.chown(folder, helper_uid, helper_uid)
        for name in files:
            os.chown(os.path.join(folder, name), file_uid, helper_uid)
            os.chmod(os.path.join(folder, name), 0o640)
    helper = Helper(home, "--max-wait", "60", user=helper_uid, group=helper_uid, extra_groups=[])
    try:
        return helper.result()
    finally:
        helper.close()


def test_a_user_of_the_system_says_nothing_about_whom_to_believe(setup, home):
    assert owned(home, 12345, 0)[0] == "done"
    assert owned(home, 12345, 12345)[0] == "done"  # an ordinary user who tries it out
    assert owned(home, 987, 0)[0] == "done"
    word, fields = owned(home, 987, 987)           # the helper's own
    assert word == "fail" and fields["class"] == "config" and "root" in fields["text"]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_plain_http_is_for_an_ordinary_users_own_file(setup, home, login):
    """Whoever gets a port of this machine first would say who is who."""
    for base in (setup.oidc, "http://127.0.0.1:9", "http://[::1]:9/x"):
        write(home, person(setup, base=base))
        text = refused(login)
        assert text.startswith(f"{home.config_path}:5: authority: is http: whoever gets its port first"), text
        for uid, owner in ((987, 0), (12345, 0)):
            word, fields = owned(home, uid, owner)
            assert (word, fields["class"]) == ("fail", "config") and "is http" in fields["text"], (uid, owner, fields)
        os.chown(home.config_path, 0, 0)
    assert setup.requests() == []
    assert "is http" in login("--verify").fail("config")
    write(home, person(setup, base=setup.oidc))
    assert owned(home, 12345, 12345)[1]["issuer"] == setup.oidc


def test_a_client_secret_is_the_helpers_own_file(authority, home):
    """As the manual page has it: no key of a group's opens it."""
    authority.set_client("device-conf", auto_approve="alice")
    secret = home.secret(authority.client("device-conf").secret)
    write(home, person(authority, "device-conf", client_secret=secret))
    assert owned(home, 987, 0)[1]["class"] == "config"
    os.chown(secret[len("file:"):], 987, 0)
    os.chmod(secret[len("file:"):], 0o400)
    helper = Helper(home, "--max-wait", "60", user=987, group=987, extra_groups=[])
    assert helper.done()["client_id"] == "device-conf"
    helper.close()


@pytest.mark.parametrize("args", [["--colour"], ["--claim"], ["--claim", "a b"], ["--claim", "-a"], ["--claim", "a/b"], ["--claim", "\u00e4"], ["--claim", "x" * 59], ["--claim", ""], ["x"],
                                  ["--max-wait", "0"], ["--max-wait", "-1"], ["--max-wait", "3601"], ["--max-wait", "1x"], ["--max-wait", ""],
                                  ["--verification-host", ""], ["--verification-host", "x" * 254], ["--\u001b[2J"],
                                  sum((["--claim", f"c{i}"] for i in range(17)), []), sum((["--verification-host", f"h{i}"] for i in range(33)), [])])
def test_bad_arguments(setup, login, args):
    text = refused(login, *args)
    assert text.isprintable()


# ---- its life ----

@pytest.mark.parametrize("endpoint", ["metadata", "device", None, "token", "jwks"])
def test_it_goes_when_its_input_ends(setup, home, login, endpoint):
    """At whatever step it is, with its worker, and without a word."""
    write(home, person(setup, client_secret=None))
    if endpoint:
        setup.fault(endpoint, hang="before")
    if endpoint is None:
        setup.set_client("device", auto_approve=None)
    helper = login()
    if endpoint:
        assert setup.wait_for(endpoint)
    else:
        helper.prompt()
        assert helper.line()[0] == "pending"
    others = children(helper.pid)
    assert others
    began = time.monotonic()
    helper.process.stdin.close()
    assert helper.gone() == 1 and time.monotonic() - began < 25
    wait_gone(*others)
    with pytest.raises(EOFError):
        while True:
            assert helper.line()[0] in ("prompt", "pending")


def test_it_goes_when_something_is_said_to_it(setup, login):
    setup.set_client("device", auto_approve=None)
    helper = login()
    helper.prompt()
    helper.process.stdin.write(b"yes\n")
    assert helper.gone() == 1


@pytest.mark.parametrize("what", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it(setup, login, what):
    setup.set_client("device", auto_approve=None)
    helper = login()
    helper.prompt()
    others = children(helper.pid)
    helper.process.send_signal(what)
    assert helper.gone() == 1
    wait_gone(*others)


PARENT = """
import os, subprocess, sys
helper = subprocess.Popen(sys.argv[1:], stdin=0, env={"PATH": "/usr/bin:/bin"})
print(helper.pid, file=sys.stderr, flush=True)
helper.wait()
"""


def test_it_goes_with_its_parent(setup, home):
    """Though somebody else holds the other end of its input."""
    setup.set_client("device", auto_approve=None)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, program("mltoken-pam-login"), "--config", home.config_path],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pid = int(parent.stderr.readline())
    assert setup.wait_for("token")
    others = children(pid)
    parent.kill()
    parent.wait()
    wait_gone(pid, *others)
    for file in (parent.stdin, parent.stdout, parent.stderr):
        file.close()


def test_input_that_has_no_end(setup, login):
    """Who gives it none does not get a process that nobody can stop."""
    assert "could not go on" in login(stdin=subprocess.DEVNULL).fail("internal")


def test_a_module_that_does_not_read(setup, home, login):
    """A conversation may keep it busy for long: the line waits for it."""
    setup.set_client("device", token_format="opaque", token_padding=30000)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    helper = login(stdout=writer)
    os.close(writer)
    helper.process.stdout = open(reader, "rb", 0)
    wait_until(lambda: "signed in" in helper.error_text())
    time.sleep(8)
    assert len(helper.done()["access_token"]) > 30000


def test_a_module_that_never_reads(setup, home):
    setup.set_client("device", token_format="opaque", token_padding=30000)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    helper = Helper(home, "--max-wait", "5", stdout=writer)
    os.close(writer)
    assert helper.gone(2 * PATIENCE) == 1
    os.close(reader)
    helper.process.stdout = None
    helper.close()


def test_a_module_that_goes_while_its_line_waits(setup, home):
    setup.set_client("device", token_format="opaque", token_padding=30000)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    helper = Helper(home, "--max-wait", "600", stdout=writer)
    os.close(writer)
    wait_until(lambda: "signed in" in helper.error_text())
    time.sleep(0.5)
    assert helper.process.poll() is None
    helper.process.stdin.close()
    assert helper.gone() == 1
    os.close(reader)
    helper.process.stdout = None
    helper.close()


def test_a_module_that_has_closed_its_end(setup, home):
    reader, writer = os.pipe()
    os.close(reader)
    helper = Helper(home, "--max-wait", "60", stdout=writer)
    os.close(writer)
    assert helper.gone(2 * PATIENCE) == 1
    helper.process.stdout = None
    helper.close()


def limited(home, what, value):
    """How it ends with a limit of its own: (status, the last word or None)."""
    helper = Helper(home, "--max-wait", "30", preexec_fn=lambda: resource.setrlimit(what, (value, value)))
    word = None
    try:
        with contextlib.suppress(EOFError):
            while True:
                word = helper.line()[0]
        return helper.gone(), word
    finally:
        helper.close()


@pytest.mark.skipif(SANITIZED, reason="a sanitizer ends the process itself")
@pytest.mark.parametrize("what, values", [(resource.RLIMIT_NOFILE, range(3, 24)), (resource.RLIMIT_AS, [m << 20 for m in (*range(8, 120, 8), 400)]),
                                          (resource.RLIMIT_FSIZE, [0]), (resource.RLIMIT_STACK, [64 << 10, 256 << 10]),
                                          (resource.RLIMIT_MEMLOCK, [0])], ids=["files", "memory", "size", "stack", "locked"])
def test_whatever_it_runs_out_of(setup, home, what, values):
    """It ends, with a result that is true or with none; and never by a crash."""
    ends = {}
    for value in values:
        status, word = ends[value] = limited(home, what, value)
        assert (status, word) in ((0, "done"), (1, "fail"), (1, None), (127, None)) or (status, word) == (1, "prompt"), (value, status, word)
    assert what == resource.RLIMIT_STACK or ends[max(values)] == (0, "done"), ends


# ---- its surroundings ----

def test_nothing_of_the_environment_counts(setup, home, login, tmp_path):
    """A setuid program's caller says what is in it: no file, no connection, no effect."""
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.settimeout(0.1)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login x password y\n")
        (tmp_path / "openssl.cnf").write_text("nonsense")
        hostile = {"SSLKEYLOGFILE": str(tmp_path / "keys"), "http_proxy": address, "https_proxy": address, "HTTPS_PROXY": address,
                   "ALL_PROXY": address, "CURL_HOME": str(tmp_path), "HOME": str(tmp_path), "SSL_CERT_FILE": str(tmp_path / "none"),
                   "SSL_CERT_DIR": str(tmp_path), "OPENSSL_CONF": str(tmp_path / "openssl.cnf"), "XDG_RUNTIME_DIR": str(tmp_path),
                   "XDG_CONFIG_HOME": str(tmp_path), "MLTOKEN_CONFIG": str(tmp_path / "x"), "MLTOKEN_SOCK": str(tmp_path / "sock"),
                   "DBUS_SESSION_BUS_ADDRESS": "unix:path=" + str(tmp_path / "bus"), "TZ": ":/" + str(tmp_path / "tz"), "LC_ALL": "../../x",
                   "LANG": "x/y", "PATH": str(tmp_path), "MALLOC_TRACE": str(tmp_path / "trace"), "TMPDIR": str(tmp_path)}
        write(home, person(setup))
        before = sorted(os.listdir(tmp_path))
        setup.set_client("device", auto_approve=None)
        helper = login(environment=hostile)
        helper.prompt()
        assert login(environment={**ENVIRONMENT, "MLTOKEN_PAM_LOGIN": "anew", "X": "y"}).fail("internal")
        with open(f"/proc/{helper.pid}/environ", "rb") as file:
            found = dict(entry.split(b"=", 1) for entry in file.read().split(b"\0") if entry)
        # (glibc cuts the tunables up where they stand)
        assert found.pop(b"MLTOKEN_PAM_LOGIN") == b"anew" and found.pop(b"PATH") == b"/usr/local/bin:/usr/bin:/bin", found
        assert all(name.lower().startswith(b"glibc") for name in found), found
        assert os.readlink(f"/proc/{helper.pid}/cwd") == "/"
        setup.approve(setup.device_codes()[0].user_code)
        helper.done()
        assert sorted(os.listdir(tmp_path)) == before
        with pytest.raises(TimeoutError):
            proxy.accept()


def test_descriptors_limits_and_privileges(setup, home, login):
    setup.set_client("device", auto_approve=None)
    with open("/etc/hostname", encoding="ascii") as secret:
        helper = login(pass_fds=[secret.fileno()])
        helper.prompt()
        for pid in (helper.pid, *children(helper.pid)):
            targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            assert "/etc/hostname" not in targets, targets
    with open(f"/proc/{helper.pid}/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert status["NoNewPrivs"] == "1" and status["Name"] == "mltoken-pam-log" and status["Umask"] == "0077"
    with open(f"/proc/{helper.pid}/limits", encoding="ascii") as file:
        assert re.search(r"Max core file size +0 +0 ", file.read())


def test_its_own_user_cannot_look_into_it(setup, home):
    """What runs as the helper's user, perhaps another one for somebody else, reads neither its memory nor its descriptors."""
    setup.set_client("device", auto_approve=None)
    os.chmod(home.path, 0o755)
    for folder, _, files in os.walk(home.path):
        os.chmod(folder, 0o755)
        for name in files:
            os.chmod(os.path.join(folder, name), 0o644)
    helper = Helper(home, "--max-wait", "60", user=987, group=987, extra_groups=[])
    try:
        helper.prompt()
        for name in ("mem", "environ", "fd", "maps"):
            code = subprocess.run([sys.executable, "-c", "import os, sys; p = sys.argv[1]; os.listdir(p) if p.endswith('fd') else open(p, 'rb').read(1)",
                                   f"/proc/{helper.pid}/{name}"], user=987, group=987, extra_groups=[], capture_output=True)
            assert code.returncode != 0 and b"Permission" in code.stderr, (name, code.stderr)
    finally:
        helper.close()


# ---- secrets ----

def test_no_secret_on_standard_error_or_in_argv(authority, home, login):
    """Every way that it can go, with debug on."""
    secret = authority.client("device-conf").secret
    authority.set_client("device-conf", enforce_interval=False)
    write(home, person(authority, "device-conf", client_secret=home.secret(secret)))
    ways = [("auto_approve", "alice"), ("id_token_forge", "tampered"), ("id_token_forge", "expired"), ("id_token_forge", None),
            ("device_script", ["access_denied"]), ("device_script", ["slow_down", "invalid_grant"]), ("token_padding", 60000)]
    text = ""
    for name, value in ways:
        authority.set_client("device-conf", **{name: value})
        helper = login("--claim", "email", "--claim", "x", wait="40")
        with open(f"/proc/{helper.pid}/cmdline", "rb") as file:
            text += file.read().decode()
        helper.result()
        text += helper.error_text()
    authority.fault("token", set={"error": "x"}, status=400)
    text += login().fail("refused")
    assert "signed in" in text and "sign-in failed" in text and "device_code" not in text
    for known in (*authority.secrets(), *(code.user_code for code in authority.device_codes())):
        assert known not in text, known[:12]
        for part in known.split("."):
            assert len(part) < 20 or part not in text


def test_an_authority_that_repeats_our_secrets(authority, home, login):
    """What it says goes to the system's log: our part of it does not."""
    secret = authority.client("device-conf").secret
    authority.set_client("device-conf", enforce_interval=False)
    write(home, person(authority, "device-conf", client_secret=home.secret(secret), client_auth="client_secret_post"))
    helper = login()
    helper.prompt()
    code = authority.device_codes()[0].code
    authority.fault("token", error={"error": "odd", "error_description": f"what is {code} with {secret}?"})
    text = helper.fail("refused") + helper.error_text()
    assert "what is" in text and code not in text and secret not in text, text


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps what was freed in quarantine")
def test_the_tokens_do_not_stay_in_its_memory(setup, home):
    """While the done line waits for the module, what the polls were made with is gone: no copy lies about that was freed."""
    setup.set_client("device", token_format="opaque", token_padding=30000)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    helper = Helper(home, "--max-wait", "60", stdout=writer)
    os.close(writer)
    helper.process.stdout = None
    assert setup.wait_for("jwks")
    wait_until(lambda: "signed in" in helper.error_text())
    assert memory_has(helper.pid, b"mltoken-pam-login")  # so it can be seen
    assert memory_has(helper.pid, setup.device_codes()[0].code.encode()) is None
    helper.close()
    os.close(reader)


# ---- --map ----

def test_map(authority, home):
    write(home, person(authority))
    helper = Helper(home, "--map", "--user", "alice", environment=home.env(), stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: authority.device_codes() and "enter the code" in helper.error_text())
        code = authority.device_codes()[0]
        assert code.user_code in helper.error_text() and authority.https + "/device" in helper.error_text()
        authority.approve(code.user_code)
        assert helper.process.stdout.read() == f"{issuer(authority)} sub:sub-alice-1 alice\n".encode()
        assert helper.gone() == 0
    finally:
        helper.close()


def test_map_of_entra_and_of_odd_subjects(setup, home):
    for claims, wanted in (({"tid": "t-1", "oid": "o-1"}, f"{issuer(setup)} tid:t-1,oid:o-1 USER\n"), ({"sub": "a b"}, None), ({"sub": "a#b"}, f"{issuer(setup)} sub:a#b USER\n"), ({"tid": "t,1", "oid": "o"}, None),
                           ({"tid": "t-1"}, f"{issuer(setup)} sub:sub-alice-1 USER\n")):
        setup.set_client("device", id_token_claims=claims)
        helper = Helper(home, "--map", environment=home.env(), stdin=subprocess.DEVNULL)
        out = helper.process.stdout.read().decode()
        assert (out == wanted) if wanted else (out == "" and "no room" in helper.error_text()), (out, helper.error_text())
        helper.close()


def test_map_fails_in_plain_words(setup, home):
    helper = Helper(home, "--map", "--profile", "no\u001b[2J", environment=home.env(), stdin=subprocess.DEVNULL, debug=False)
    assert helper.process.stdout.read() == b"" and helper.gone() == 1
    assert helper.error_text().startswith("mltoken-pam-login: ") and "\x1b" not in helper.error_text() and helper.error_text().count("\n") == 1
    helper.close()


def test_map_ends_with_ctrl_c(setup, home):
    setup.set_client("device", auto_approve=None)
    helper = Helper(home, "--map", environment=home.env(), stdin=subprocess.DEVNULL)
    assert setup.wait_for("token")
    helper.process.send_signal(signal.SIGINT)
    assert helper.gone() == 1
    helper.close()


# ---- --verify ----

@pytest.fixture
def verify(setup, login):
    """Says what it makes of a token: verify(token, ...) -> (word, fields)."""
    def run(token, *args):
        helper = login("--verify", *args, wait="20")
        with contextlib.suppress(BrokenPipeError):
            helper.process.stdin.write(token.encode())
        helper.process.stdin.close()
        return helper.result()

    return run


def test_verify(setup, verify):
    word, fields = verify(setup.mint(issuer=issuer(setup), claims={"email": "a@b", "groups": ["g"], "iat": int(time.time()) - 5}) + "\n", "--claim", "email")
    assert word == "verified" and fields["sub"] == "sub-alice-1" and fields["issuer"] == issuer(setup) and fields["client_id"] == "device"
    assert fields["claim.email"] == "a@b" and fields["group"] == ["g"] and 0 < time.time() - int(fields["iat"]) < 120
    assert int(fields["expires_at"]) > time.time() + 3000 and "id_token" not in fields


@pytest.mark.parametrize("claims", [{"azp": "someone-else"}, {"client_id": "someone-else"}, {"appid": 7}, {"sub": None}, {"sub": ""}, {"iat": None},
                                    {"aud": "api://one"}, {"aud": None}, {"iss": "https://evil.example"}, {"exp": 1}, {"nbf": 9999999999},
                                    {"sub": "alice\u0000x"}, {"aud": ["x", "y"]}])
def test_verify_refuses(setup, verify, claims):
    word, fields = verify(setup.mint(issuer=issuer(setup), claims=claims))
    assert (word, fields["class"]) == ("fail", "untrusted"), fields


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "...", "A" * 70000, "\u00e9.\u00e9.\u00e9", "a.b.c.d.e"], ids=lambda text: text[:8])
def test_verify_of_what_is_no_jwt(setup, verify, token):
    word, fields = verify(token)
    assert (word, fields["class"]) == ("fail", "untrusted"), fields


@pytest.mark.parametrize("forge", ["none", "hs256", "unknown_kid", "other_key", "tampered", "expired", "future", "wrong_iss"])
def test_verify_of_forgeries(setup, verify, forge):
    word, fields = verify(setup.mint(issuer=issuer(setup), forge=forge))
    assert (word, fields["class"]) == ("fail", "untrusted"), fields


def test_verify_of_a_token_for_a_service(setup, home, verify):
    """Only one that was made for our client: others have the same audience."""
    write(home, person(setup, audience="api://one"))
    for claims, wanted in (({"azp": "device"}, "verified"), ({"client_id": "device"}, "verified"), ({"appid": "device"}, "verified"), ({}, "fail"),
                           ({"azp": "device", "client_id": "other"}, "fail"), ({"azp": "other"}, "fail")):
        word, fields = verify(setup.mint(issuer=issuer(setup), claims={"aud": "api://one", **claims}))
        assert word == wanted, (claims, fields)


def test_verify_of_a_dead_authority_and_of_a_slow_module(setup, verify, login):
    setup.pause(https=True)
    assert verify(setup.mint(issuer=issuer(setup)))[1]["class"] == "unreachable"
    setup.resume()
    login("--verify", wait="2").fail("timeout")
    setup.fault("metadata", hang="before")
    helper = login("--verify", wait="8")
    helper.process.stdin.write(setup.mint(issuer=issuer(setup)).encode())
    helper.process.stdin.close()
    helper.fail("timeout")
