"""Sign-in by device code: what a person sees, what the authority may answer, and how it ends."""

import json
import os
import signal
import subprocess
import time

import pexpect
import pytest
from authority import visit
from harness import PATIENCE, person, program, rests, service, wait_until

# Ctrl-C: a shell calls both 130
INTERRUPTED = (130, -signal.SIGINT)


def lines(result):
    return [json.loads(line) for line in result.out.splitlines()]


@pytest.fixture
def setup(authority, home, start_agent):
    home.config({"me": person(authority)}, {"default_profile": "me"})
    return start_agent()


def gaps(authority, client):
    times = [r.time for r in authority.requests("device", client)] + \
            [r.time for r in authority.requests("token", client)]
    return [b - a for a, b in zip(times, times[1:])]


def test_sign_in_and_then_get(setup, authority, mltoken):
    result = mltoken.login(authority, "me", "bob").ok()
    told = lines(result)
    prompt = told[0]
    assert prompt["state"] == "prompt" and prompt["prompt"]["kind"] == "device"
    code = authority.device_codes()[0]
    assert prompt["prompt"]["userCode"] == code.user_code
    assert prompt["prompt"]["verificationUri"].endswith("/device")
    assert prompt["prompt"]["verificationUriComplete"].endswith(code.user_code)
    assert abs(prompt["prompt"]["expiresAt"] - time.time() - 900) < 60
    assert told[-1]["state"] == "done" and told[-1]["account"] == "bob@example.org"
    token = mltoken("get", "me").ok().out
    assert mltoken("get", "me").out == token
    assert authority.count("token", grant="refresh_token") == 0
    status = mltoken("status", "me", "--json").ok().json()
    assert "bob@example.org" in json.dumps(status)


def test_a_scripted_browser_at_the_complete_address(setup, authority, mltoken):
    process = mltoken.start("login", "me", "--json")
    prompt = json.loads(process.stdout.readline())["prompt"]
    visit(prompt["verificationUriComplete"], user="alice", ca_file=authority.ca_file)
    assert mltoken.finish(process).code == 0
    mltoken("get", "me").ok()


def test_the_person_says_no(setup, authority, mltoken):
    result = mltoken.login(authority, "me", deny=True)
    assert result.code == 4 and "declined" in result.err and result.err.count("\n") == 1
    mltoken("get", "me").failed(4)


def test_the_code_expires(setup, authority, mltoken):
    authority.set_client("device", device_lifetime=2)
    process = mltoken.start("login", "me", "--json")
    result = mltoken.finish(process)
    assert result.code == 4 and "expired" in result.err
    mltoken("get", "me").failed(4)


def test_the_answer_of_an_expired_code(setup, authority, mltoken):
    authority.set_client("device", device_script=["expired_token"])
    result = mltoken.finish(mltoken.start("login", "me", "--json"))
    assert result.code == 4 and "expired" in result.err


def test_another_error_ends_it_in_the_authoritys_words(setup, authority, mltoken):
    authority.fault("token", error={"error": "invalid_grant", "error_description": "out of cheese"})
    result = mltoken.finish(mltoken.start("login", "me", "--json"))
    assert result.code == 5 and "out of cheese" in result.err


def test_ctrl_c_ends_it_cleanly(setup, authority, mltoken):
    process = mltoken.start("login", "me", "--json")
    assert authority.wait_for("token")
    process.send_signal(signal.SIGINT)
    assert mltoken.finish(process).code in INTERRUPTED
    rests(lambda: authority.count("token"))  # the agent asks no more
    mltoken.login(authority, "me").ok()


def test_the_client_that_goes_away_cancels(setup, authority, varlink):
    connection = varlink()
    connection.send("Login", {"profile": "me"}, more=True)
    connection.reply()
    assert authority.wait_for("token")
    connection.close()
    rests(lambda: authority.count("token"))


INTERVALS = {
    # how the authority behaves -> the gaps between requests, at least, and at most where nothing holds them up
    "told": ({"interval": 2}, [], 1.9, 3),
    "untold": ({"interval": None}, [], 4.9, 6.5),
    "zero": ({"interval": 0}, [], 0.9, 6.5),
    "negative": ({"interval": -5}, [], 0.9, 6.5),
    "text": ({"interval": "2"}, [], 1.9, 3),
    "no-number": ({"interval": "soon"}, [], 4.9, 6.5),
    "slow": ({"interval": 1}, ["slow_down"], 0.9, 2),
}


def test_intervals(authority, home, start_agent, mltoken):
    """All at once: told, untold, absurd, and slow_down, which adds five seconds for good. By the authority's own clock: a
    busy machine may make a gap longer, never shorter, and not all of them."""
    profiles = {}
    for name, (settings, script, _, _) in INTERVALS.items():
        authority.add_client(name, grants=("device_code",), enforce_interval=False, device_script=list(script), **settings)
        profiles[name] = person(authority, name, scope="api")
    authority.add_client("huge", grants=("device_code",), interval=10**9, auto_approve="alice")
    profiles["huge"] = person(authority, "huge", scope="api")
    home.config(profiles)
    start_agent()
    running = {name: mltoken.start("login", name, "--json") for name in profiles}

    def as_wanted(name, found, least, most):
        assert min(found) >= least, (name, found)
        return min(found) <= most and len(found) >= 2

    def all_seen():
        seen = {name: gaps(authority, name) for name in INTERVALS}
        first, later = seen["slow"][:1], seen["slow"][1:]
        return all(seen.values()) and later and as_wanted("slowed", later, 5.9, 8) and all(
            as_wanted(name, first * 2 if name == "slow" else seen[name], least, most)
            for name, (_, _, least, most) in INTERVALS.items())

    wait_until(all_seen)
    assert running["huge"].poll() is None and not authority.requests("token", "huge")
    assert "prompt" in running["huge"].stdout.readline()


def test_a_poll_that_gets_no_answer_slows_down(authority, home, start_agent, mltoken):
    """RFC 8628 3.5: on a time-out the wait is doubled."""
    home.config({"me": person(authority, timeout="1")})
    start_agent()
    authority.fault("token", hang="before", times=2)
    process = mltoken.start("login", "me", "--json")
    assert authority.wait_for("token", 4, PATIENCE)
    found = [r.time for r in authority.requests("token")]
    # hang 1 s + 2 s; hang 1 s + 4 s
    assert found[1] - found[0] >= 2.8 and found[2] - found[1] >= 4.8, found
    authority.approve(authority.device_codes()[0].user_code)
    assert mltoken.finish(process).code == 0


def test_polls_survive_an_authority_in_trouble(setup, authority, mltoken):
    authority.fault("token", status=503, times=1)
    authority.fault("token", reset="before", times=1)
    process = mltoken.start("login", "me", "--json")
    assert authority.wait_for("token", 2, PATIENCE)
    authority.approve(authority.device_codes()[0].user_code)
    assert mltoken.finish(process).code == 0


def test_the_first_account_is_remembered(setup, authority, mltoken):
    mltoken.login(authority, "me", "alice").ok()
    result = mltoken.login(authority, "me", "bob")
    assert result.code == 4 and "--switch-account" in result.err
    mltoken("get", "me").ok()
    result = mltoken.login(authority, "me", "bob", False, "--switch-account").ok()
    assert lines(result)[-1]["account"] == "bob@example.org"


def test_two_profiles_two_accounts(authority, home, start_agent, mltoken):
    home.config({"a": person(authority), "b": person(authority)})
    start_agent()
    mltoken.login(authority, "a", "alice").ok()
    mltoken.login(authority, "b", "bob").ok()
    tokens = {mltoken("get", name).ok().out for name in "ab"}
    assert len(tokens) == 2


def test_get_login_signs_in_first(setup, authority, mltoken):
    process = mltoken.start("get", "me", "--login")
    wait_until(lambda: authority.device_codes())
    authority.approve(authority.device_codes()[0].user_code)
    result = mltoken.finish(process)
    assert result.code == 0 and result.out.count("\n") == 1
    assert authority.device_codes()[0].user_code in result.err
    assert mltoken("get", "me", "--login").ok().out == result.out


def test_without_a_refresh_token_the_end_is_plain(setup, authority, mltoken):
    authority.set_client("device", refresh_token="never", token_lifetime=12)
    mltoken.login(authority, "me").ok()
    mltoken("get", "me").ok()
    wait_until(lambda: mltoken("get", "me").code, step=0.5)
    assert "mltoken login me" in mltoken("get", "me").failed(4)


def test_a_confidential_client_signs_in(authority, home, start_agent, mltoken):
    secret = home.secret(authority.client("device-conf").secret)
    for auth in ("client_secret_basic", "client_secret_post"):
        home.config({"me": person(authority, "device-conf", client_secret=secret, client_auth=auth)})
        agent = start_agent()
        mltoken.login(authority, "me").ok()
        agent.stop()
    for endpoint in ("device", "token"):
        for record in authority.requests(endpoint):
            assert ("authorization" in record.headers) or "client_secret" in record.form


def test_login_of_a_profile_without_people(authority, home, start_agent, mltoken):
    home.config({"svc": service(authority, home)})
    start_agent()
    assert "svc" in mltoken("login", "svc").failed(3)


# Where the person is sent

@pytest.mark.parametrize("address", ["http://evil.example/device", "javascript:alert(1)", "ftp://127.0.0.1/", "/device", "",
                                     "https://", "https://user@evil.example/", "file:///etc/passwd"])
def test_an_address_that_is_not_https_is_refused(setup, authority, mltoken, address):
    authority.set_client("device", verification_uri=address or None, device_extra={} if address else {"verification_uri": ""})
    result = mltoken.finish(mltoken.start("login", "me", "--json"))
    assert result.code in (4, 5) and result.out == "" and result.err.count("\n") == 1
    assert authority.count("token") == 0


# On a terminal

def spawn(home, *args, columns=100):
    return pexpect.spawn(program("mltoken"), list(args), env=home.env(TERM="xterm"), timeout=PATIENCE, encoding="utf-8",
                         dimensions=(50, columns))


def test_a_terminal_shows_address_code_qr_and_countdown(setup, authority, home):
    child = spawn(home, "login", "me")
    wait_until(lambda: authority.device_codes())
    code = authority.device_codes()[0]
    child.expect_exact(code.user_code)
    child.expect("[▀▄█]{10}")
    child.expect(r"1[45]:\d\d|\d+ (s|min)")
    time.sleep(1.5)
    authority.approve(code.user_code)
    child.expect_exact("alice@example.org")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_ctrl_c_at_the_terminal(setup, authority, home):
    child = spawn(home, "login", "me")
    wait_until(lambda: authority.device_codes())
    child.expect_exact(authority.device_codes()[0].user_code)
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130 or child.signalstatus == signal.SIGINT


def test_plain_output_has_no_escapes(setup, authority, mltoken):
    authority.set_client("device", auto_approve="alice")
    result = mltoken.finish(mltoken.start("login", "me"))
    assert result.code == 0
    assert "\x1b" not in result.out + result.err
    assert authority.device_codes()[0].user_code in result.out + result.err


# Entra

TENANT = "c0470500-0000-4000-8000-00000000c050"


def test_entra_v2(authority, home, start_agent, mltoken):
    home.config({"me": person(authority, "native", base=f"{authority.http}/{TENANT}/v2.0", dialect="entra")})
    start_agent()
    mltoken.login(authority, "me").ok()
    first = mltoken("get", "me").ok().out
    assert mltoken("get", "me", "--refresh").ok().out != first
    assert mltoken("get", "me", "--scope", "https://other.example/.default").ok().out != first
    result = mltoken.login(authority, "me", deny=True)
    assert result.code == 4 and "declined" in result.err


def test_entra_v1(authority, home, start_agent, mltoken):
    home.config({"me": person(authority, "native", base=f"{authority.http}/{TENANT}", dialect="entra_v1", scope=None,
                              resource="https://graph.example")})
    start_agent()
    mltoken.login(authority, "me").ok()
    polls = authority.requests("token")
    assert polls[-1].form["grant_type"] == "device_code" and polls[-1].form["code"]
    assert authority.requests("device")[0].form["resource"] == "https://graph.example"
    first = mltoken("get", "me").ok().out
    assert mltoken("get", "me", "--resource", "https://other.example").ok().out != first
    authority.set_client("native", device_script=["code_expired"])
    assert "expired" in mltoken.finish(mltoken.start("login", "me", "--json")).err


def test_a_sign_in_does_not_survive_its_own_process_table(setup, authority, mltoken):
    """The code is for the person; the device code, which is the secret, shows in no command line."""
    process = mltoken.start("login", "me", "--json")
    process.stdout.readline()
    secret = authority.device_codes()[0].code
    listed = subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout
    assert secret not in listed
    os.kill(process.pid, signal.SIGINT)
    assert mltoken.finish(process).code in INTERRUPTED


def test_an_address_on_another_host_is_pointed_out(setup, authority, mltoken, home):
    authority.set_client("device", verification_uri="https://elsewhere.example/device", auto_approve="alice")
    process = mltoken.start("login", "me")
    result = mltoken.finish(process)
    assert result.code == 0
    shown = [line for line in (result.out + result.err).splitlines() if "elsewhere.example" in line]
    assert len(shown) >= 2, result
    home.config({"me": person(authority, verification_hosts="elsewhere.example"), "new": service(authority, home)})
    wait_until(lambda: mltoken("get", "new").code == 0)
    result = mltoken.finish(mltoken.start("login", "me"))
    fewer = [line for line in (result.out + result.err).splitlines() if "elsewhere.example" in line]
    assert len(fewer) < len(shown)


def test_no_qr_code_when_not_wanted_or_no_room(setup, authority, home):
    for args, columns in ((("--no-qr",), 100), ((), 20)):
        known = len(authority.device_codes())
        child = spawn(home, "login", "me", *args, columns=columns)
        wait_until(lambda known=known: len(authority.device_codes()) > known)
        authority.approve(authority.device_codes()[-1].user_code)
        child.expect(pexpect.EOF)
        assert "██" not in child.before and "▀▀" not in child.before


def test_a_switch_can_only_be_told_to_the_person(setup, authority, mltoken):
    process = mltoken.start("login", "me", "--switch-account")
    wait_until(lambda: authority.device_codes() or process.poll() is not None)
    authority.approve(authority.device_codes()[-1].user_code, "bob")
    done = mltoken.finish(process)
    assert done.code == 0 and "private window" in done.err and "bob@example.org" in done.out
    assert "prompt" not in authority.requests("device")[0].form
