"""mltoken-pam-login: the rules of RFC 8628, an authority in trouble or out of its mind, and the class that each end has."""

import socket
import time

import pytest
from harness import wait_until
from login_helper import Helper, person


@pytest.fixture
def login(home):
    started = []

    def start(*args, wait="60", **more):
        started.append(Helper(home, "--max-wait", wait, *args, **more))
        return started[-1]

    yield start
    for helper in started:
        helper.close()


HANGS = "6"  # how long a request may take; on a slow machine those that do not hang are answered by then


@pytest.fixture
def setup(authority, home):
    home.config({"me": person(authority, timeout=HANGS)})
    authority.set_client("device", enforce_interval=False)
    return authority


def polls(authority, client="device"):
    return [r.time for r in authority.requests("token", client)]


def gaps(authority, client="device"):
    times = [r.time for r in authority.requests("device", client)] + polls(authority, client)
    return [b - a for a, b in zip(times, times[1:])]


# ---- how it ends ----

def test_the_person_says_no(setup, login):
    helper = login()
    helper.prompt()
    setup.deny(setup.device_codes()[0].user_code)
    assert helper.fail("denied") == "the sign-in was declined"


@pytest.mark.parametrize("script, wanted", [("access_denied", "denied"), ("authorization_declined", "denied"), ("expired_token", "expired"),
                                            ("code_expired", "expired"), ("invalid_grant", "refused"), ("invalid_client", "refused"),
                                            ("unauthorized_client", "refused"), ("whatever", "refused")])
def test_what_an_authority_says(setup, login, script, wanted):
    setup.set_client("device", device_script=[script])
    text = login().fail(wanted)
    assert wanted != "refused" or script in text and "as scripted" in text


def test_the_code_runs_out(setup, login):
    setup.set_client("device", device_lifetime=2)
    assert "in time" in login().fail("expired")


def test_the_deadline(setup, login):
    """Endless authorization_pending ends, and not by the authority's leave."""
    began = time.monotonic()
    helper = login(wait="12")
    assert helper.fail("timeout") == "nobody finished the sign-in within 12 s"
    assert 11.9 <= time.monotonic() - began
    assert [word for word, _ in helper.seen][:3] == ["prompt", "pending", "pending"]


@pytest.mark.parametrize("endpoint", ["metadata", "device", "token"])
def test_the_deadline_of_one_that_hangs(authority, home, login, endpoint):
    """Limits and deadlines are never `unreachable`."""
    home.config({"me": person(authority)})
    authority.fault(endpoint, hang="before")
    login(wait="3").fail("timeout")


# ---- intervals ----

INTERVALS = {"told": ({"interval": 2}, (1.9, 4.8)), "untold": ({"interval": None}, (4.9, 30)), "zero": ({"interval": 0}, (0.9, 30)),
             "negative": ({"interval": -5}, (0.9, 30)), "text": ({"interval": "2"}, (1.9, 4.8)), "no-number": ({"interval": "soon"}, (4.9, 30)),
             "list": ({"interval": [1]}, (4.9, 30)), "slow": ({"interval": 1, "device_script": ["slow_down"]}, (0.9, 5.8))}


def test_intervals(authority, home, login):
    """All at once: told, untold, absurd, and slow_down, which adds five seconds for good."""
    profiles = {}
    for name, (settings, _) in INTERVALS.items():
        authority.add_client(name, grants=("device_code",), enforce_interval=False, **settings)
        profiles[name] = person(authority, name, scope="openid")
    authority.add_client("huge", grants=("device_code",), interval=10**9, auto_approve="alice")
    profiles["huge"] = person(authority, "huge", scope="openid")
    home.config(profiles)
    running = {name: login("--profile", name, wait="200") for name in profiles}

    def all_seen():
        """A busy machine may make a gap longer, never shorter, and not all of them."""
        for name, (_, (least, most)) in INTERVALS.items():
            first = gaps(authority, name)[:1] if name == "slow" else gaps(authority, name)
            assert all(gap >= least for gap in first), (name, first)
            if not any(gap <= most for gap in first):
                return False
        later = gaps(authority, "slow")[1:]
        assert all(gap >= 5.9 for gap in later), later
        return len(later) >= 2

    wait_until(all_seen)
    assert running["huge"].process.poll() is None and not polls(authority, "huge")
    assert running["huge"].line()[0] == "prompt"


def test_trouble_makes_it_slower(setup, login):
    """RFC 8628 section 3.5: a poll that is not answered, a 503 and a cut connection double the wait; pending ends that."""
    helper = login(wait="100")
    setup.fault("token", hang="before", times=1)
    setup.fault("token", status=503, times=1)
    setup.fault("token", reset="before", times=1)
    wait_until(lambda: len(polls(setup)) >= 5, 120)
    found = [b - a for a, b in zip(polls(setup), polls(setup)[1:])]
    # hangs, then 2 s; then 4 s; then 8 s; then pending was said: 1 s
    assert found[0] >= int(HANGS) + 1.8 and found[1] >= 3.8 and found[2] >= 7.8 and found[3] < 12, found
    setup.approve(setup.device_codes()[0].user_code)
    helper.done()


def test_trouble_is_not_told_as_pending(setup, login):
    """The module learns by `pending` that the authority answers: an answer that is none does not count."""
    setup.fault("token", status=503)
    helper = login(wait="12")
    helper.fail("timeout")
    assert [word for word, _ in helper.seen] == ["prompt", "fail"]


def test_retry_after_is_kept(setup, login):
    setup.fault("token", retry_after=4, times=1)
    login()
    wait_until(lambda: len(polls(setup)) >= 2, 40)
    assert polls(setup)[1] - polls(setup)[0] >= 3.9


# ---- reachable or not ----

def test_nobody_listens(setup, login):
    setup.pause(https=True)
    assert "connection refused" in login().fail("unreachable")


def test_a_name_that_there_is_not(authority, home, login):
    home.config({"me": person(authority, base="https://authority.invalid/oidc")})
    assert "does not resolve" in login().fail("unreachable")


# a network of its own in which name servers never answer
SILENT = ["unshare", "-mn", "sh", "-c", "echo nameserver 192.0.2.1 > \"$0\" && mount --bind \"$0\" /etc/resolv.conf && ip link add near0 type veth peer name far0 && "
          "ip addr add 192.0.2.2/24 dev near0 && ip link set near0 up && ip link set far0 up && "
          "ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev near0 && exec \"$@\""]


def test_name_servers_that_do_not_answer(authority, home, login):
    """The resolver waits in a thread that nobody can stop: what ends the sign-in does not wait for it."""
    home.config({"me": person(authority, base="https://authority.example/oidc")})
    before = [*SILENT, home.write("resolv", "", 0o644)]
    helper = login(before=before)
    late = login(before=before, wait="3")
    unreached = login(before=before)
    assert late.fail("timeout")
    wait_until(lambda: "mltoken-pam-log" in open(f"/proc/{helper.pid}/comm", encoding="ascii").read())
    time.sleep(0.5)
    began = time.monotonic()
    helper.process.stdin.close()
    assert helper.gone() == 1 and time.monotonic() - began < 8
    assert "name was not resolved" in unreached.fail("unreachable")


@pytest.mark.parametrize("certificate", ["expired", "wrong_host", "other_ca", "self_signed"])
def test_tls_that_is_not_trusted(authority, home, login, certificate):
    home.config({"me": person(authority, base=authority.listen(certificate) + "/oidc", ca_file=authority.ca_file)})
    assert "TLS" in login().fail("unreachable")


def test_one_that_never_says_a_word(setup, login):
    setup.fault("metadata", hang="before")
    assert f"no answer within {HANGS} s" in login().fail("unreachable")


def test_one_that_is_no_http_server(authority, home, login):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        home.config({"me": person(authority, base=f"https://127.0.0.1:{server.getsockname()[1]}", timeout="2")})
        login().fail("unreachable")


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"status": 404}, {"hang": "after"}, {"close": "headers"},
                                   {"retry_after": 30}, {"html": True}, {"redirect": "https://portal.example/"}])
def test_any_answer_at_all_is_no_reason_for_a_password(setup, login, fault):
    setup.fault("metadata", **fault)
    word, fields = login().result()
    assert word == "fail" and fields["class"] in ("refused", "config"), fields


@pytest.mark.parametrize("fault", [{"hang": "before"}, {"reset": "before"}, {"status": 503}])
def test_one_that_answered_before_is_not_unreachable(setup, login, fault):
    setup.fault("device", **fault)
    login().fail("refused")


def test_the_keys_cannot_be_fetched(setup, login):
    setup.set_client("device", auto_approve="alice")
    setup.fault("jwks", status=503)
    login().fail("untrusted")


# ---- garbage ----

GARBAGE = [{"html": True}, {"invalid_json": True}, {"deep": 5000}, {"huge": 3}, {"body": ""}, {"body": "[]"}, {"body": "\x00"}, {"json": {}},
           {"body": "{}garbage"}, {"length": "long"}, {"headers_huge": 1}, {"raw_headers": "X\x00Y: z\r\n"}, {"chunked": True, "close": "body"}]


@pytest.mark.parametrize("endpoint", ["metadata", "device", "jwks"])
def test_garbage(setup, home, login, endpoint):
    """Whatever comes, it ends with one line, by itself, and lets nobody in."""
    setup.set_client("device", auto_approve="alice")
    for fault in GARBAGE:
        setup.fault(endpoint, **fault)
        helper = login()
        word, fields = helper.result()
        if fault in ({"length": "long"}, {"headers_huge": 1}, {"raw_headers": "X\x00Y: z\r\n"}):
            assert word == "done" or fields["class"] in ("refused", "config", "untrusted"), (fault, fields)
        else:
            assert word == "fail" and fields["class"] in ("refused", "config", "untrusted"), (fault, fields)
        assert fields.get("class") != "unreachable"
        setup.clear_faults()
        helper.close()


def test_garbage_instead_of_tokens(setup, login):
    for fault in ({"set": {"access_token": ""}}, {"set": {"access_token": "a b"}}, {"set": {"token_type": "mac"}}, {"drop": ["access_token"]},
                  {"set": {"expires_in": 0}}, {"set": {"id_token": "a.b.c"}}, {"set": {"id_token": "x" * 70000}}, {"set": {"id_token": {}}}):
        setup.set_client("device", auto_approve="alice")
        setup.fault("token", **fault)
        helper = login()
        word, fields = helper.result()
        assert word == "fail" and fields["class"] in ("refused", "untrusted"), (fault, fields)
        setup.clear_faults()


# ---- texts and addresses ----

HOSTILE = {"esc": "\u001b[2J\u001b]0;x\u0007", "cr": "a\rb\nc", "bidi": "\u202eevil", "format": "%n%s%n", "long": "x" * 4096, "nul": "a\u0000b",
           "utf8": "\udcff\udcfe"}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_words_are_cleaned_and_bounded(setup, login, name):
    if name == "utf8":
        setup.fault("token", body='{"error":"x","error_description":"\udcff\udcfe"}', status=400)
    else:
        setup.fault("token", error={"error": "server_says_no", "error_description": HOSTILE[name], "error_uri": HOSTILE[name],
                                    "correlation_id": HOSTILE[name]})
    helper = login()
    text = helper.fail("refused")
    assert len(text) < 1400 and text.isprintable(), text
    log = helper.error_text()
    assert log.replace("\n", "").isprintable() and all(len(line) < 4096 for line in log.splitlines())
    assert name != "format" or "%n%s%n" in text


CODES = ["", "\u001b[2J", "A\u202eB", "A\nB", "x" * 65, None, 7, "A\u0000B"]


@pytest.mark.parametrize("code", CODES)
def test_codes_that_cannot_be_shown(setup, login, code):
    setup.set_client("device", device_extra={"user_code": code})
    helper = login()
    helper.fail("refused")
    assert [word for word, _ in helper.seen] == ["fail"]


ADDRESSES = ["http://127.0.0.1/device", "http://login.example.org/", "javascript:alert(1)", "https://user@evil.example/", "https://x/\u001b[2J",
             "https://a b/", "", None, 7, "https://" + "x" * 3000, "ftp://x/", "https://login.example.org\\@evil.example/", "//evil.example/"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_that_are_not_shown(setup, login, address):
    setup.set_client("device", verification_uri_complete=False, device_extra={"verification_uri": address})
    helper = login()
    helper.fail("refused")
    assert [word for word, _ in helper.seen] == ["fail"] and not polls(setup)


def test_verification_hosts(setup, home, login):
    setup.set_client("device", verification_uri="https://elsewhere.example/device")
    assert login().prompt()["uri"] == "https://elsewhere.example/device"
    assert login("--verification-host", "x.example", "--verification-host", "ELSEWHERE.example").prompt()
    assert "verification_hosts" in login("--verification-host", "where.example").fail("refused")
    home.config({"me": person(setup, verification_hosts="x.example")})
    assert "verification_hosts" in login().fail("refused")


def test_a_complete_address_elsewhere_is_dropped(setup, login):
    setup.set_client("device", device_extra={"verification_uri_complete": "https://evil.example/?user_code=X"})
    assert "complete" not in login().prompt()
