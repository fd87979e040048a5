"""The configuration file: what is refused, how it is told, and what a change does."""

import os
import signal
import time

import pytest
from harness import Varlink, person, service, wait_until

GOOD = "grant = client_credentials\nauthority = https://login.example.org\nclient_id = x\nclient_secret = file:/nonexistent\n"

# text of the file -> the line, and words of the message
BAD = {
    "unknown-key": ("[profile p]\n" + GOOD + "scoep = a\n", 6, ["scoep", "scope"]),
    "unknown-agent-key": ("[agent]\ndefault_profil = p\n[profile p]\n" + GOOD, 2, ["default_profil", "default_profile"]),
    "repeated-key": ("[profile p]\n" + GOOD + "client_id = y\n", 6, ["client_id"]),
    "repeated-section": ("[profile p]\n" + GOOD + "[profile p]\n" + GOOD, 6, ["p"]),
    "unknown-section": ("[profiel p]\n" + GOOD, 1, ["[profile NAME]"]),
    "no-section": ("grant = x\n", 1, []),
    "no-equals": ("[profile p]\n" + GOOD + "scope\n", 6, []),
    "bad-name": ("[profile .p]\n" + GOOD, 1, []),
    "blank-in-name": ("[profile p q]\n" + GOOD, 1, []),
    "long-name": ("[profile " + "p" * 65 + "]\n" + GOOD, 1, []),
    "no-bracket": ("[profile p\n" + GOOD, 1, []),
    "long-line": ("[profile p]\n" + GOOD + "scope = " + "x" * 4089 + "\n", 6, []),
    "not-utf8": ("[profile p]\n" + GOOD + "scope = \udcff\n", 6, []),
    "nul": ("[profile p]\n" + GOOD + "scope = a\0b\n", 6, []),
    "control": ("[profile p]\n" + GOOD + "scope = a\x1bb\n", 6, []),
    "bad-number": ("[profile p]\n" + GOOD + "min_valid = soon\n", 6, ["min_valid"]),
    "negative-number": ("[profile p]\n" + GOOD + "min_valid = -1\n", 6, ["min_valid"]),
    "unknown-grant": ("[profile p]\n" + GOOD.replace("client_credentials", "client_credential"), 2,
                      ["grant", "client_credentials"]),
    "unknown-dialect": ("[profile p]\n" + GOOD + "dialect = azure\n", 6, ["dialect"]),
    "unknown-auth": ("[profile p]\n" + GOOD + "client_auth = basic\n", 6, ["client_auth", "client_secret_basic"]),
    "http-authority": ("[profile p]\n" + GOOD.replace("https://login", "http://login"), 3, ["authority", "ssh"]),
    "strange-authority": ("[profile p]\n" + GOOD.replace("https://login.example.org", "login.example.org"), 3, ["authority"]),
    "userinfo-authority": ("[profile p]\n" + GOOD.replace("https://login", "https://a:b@login"), 3, ["authority"]),
    "http-endpoint": ("[profile p]\n" + GOOD + "token_endpoint = http://login.example.org/token\n", 6, ["token_endpoint"]),
    "missing-grant": ("[profile p]\n" + GOOD.partition("\n")[2], 1, ["grant"]),
    "missing-client-id": ("[profile p]\n" + GOOD.replace("client_id = x\n", ""), 1, ["client_id"]),
    "bad-header": ("[profile p]\n" + GOOD + "header = Authorization: Bearer\n", 6, ["header", "{token}"]),
    "bad-scope": ("[profile p]\n" + GOOD + 'scope = a"b\n', 6, ["scope"]),
    "no-way-to-switch-checks-off": ("[profile p]\n" + GOOD + "insecure = yes\n", 6, ["insecure"]),
    "empty-value": ("[profile p]\n" + GOOD + "resource =\n", 6, ["resource"]),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_name_file_line_and_key(home, start_agent, mltoken, name):
    text, line, words = BAD[name]
    path = os.path.join(home.config_dir, "mltoken", "config")
    os.makedirs(os.path.dirname(path), 0o700)
    with open(path, "wb") as f:
        f.write(text.encode("utf-8", "surrogateescape"))
    os.chmod(path, 0o600)
    start_agent()
    checked = mltoken("config", "check")
    assert checked.code == 3, checked
    assert f"{path}:{line}" in checked.err + checked.out, checked
    for word in words:
        assert word in checked.err + checked.out, checked
    assert mltoken("get", "p").code == 3 or name == "unknown-agent-key"  # a bad profile disables itself alone


@pytest.mark.parametrize("length, fits", [(4095, True), (4096, True), (4097, False)])
def test_the_longest_line(home, mltoken, length, fits):
    head = "scope = "
    home.config(text="[profile p]\n" + GOOD + head + " ".join(["x" * 70] * 60)[:length - len(head)].rstrip().ljust(
        length - len(head), "y") + "\n")
    assert (mltoken("config", "check").code == 0) == fits


@pytest.mark.parametrize("length, fits", [(63, True), (64, True), (65, False)])
def test_the_longest_name(home, mltoken, length, fits):
    home.config(text=f"[profile {'p' * length}]\n" + GOOD)
    assert (mltoken("config", "check").code == 0) == fits


def test_what_is_fine(home, mltoken):
    home.config(text="# comment\n; comment\n\n[agent]\r\ndefault_profile = A.b-c_9\n\n  [profile A.b-c_9]  \n" +
                GOOD.replace(" = ", "=") + "scope = a#b c;d\n\t# indented comment\nresource\t=  https://x.example/?a=b&c=d  ")
    mltoken("config", "check").ok()


def test_values_keep_comment_signs(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home, scope="a#b c;d")})
    start_agent()
    mltoken("get", "p").ok()
    assert authority.requests("token")[0].form["scope"].split() == ["a#b", "c;d"]


def test_a_bad_profile_disables_itself_alone(authority, home, start_agent, mltoken):
    home.config({"bad": {**service(authority, home), "grnt": "x"}, "good": service(authority, home)})
    start_agent()
    mltoken("get", "good").ok()
    assert "grnt" in mltoken("get", "bad").failed(3)
    status = mltoken("status").ok().out
    assert "bad" in status and "good" in status
    assert "grnt" in mltoken("status", "bad").out + mltoken("doctor").out


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o622, 0o666])
def test_a_file_that_others_can_write(authority, home, start_agent, mltoken, mode):
    home.config({"p": service(authority, home)}, mode=mode)
    start_agent()
    mltoken("get", "p").failed(3)
    assert authority.count() == 0
    assert mltoken("config", "check").code == 3


def test_a_file_of_somebody_else(authority, home, start_agent, mltoken):
    os.chown(home.config({"p": service(authority, home)}), 12345, 12345)
    start_agent()
    mltoken("get", "p").failed(3)
    assert authority.count() == 0


def test_mltoken_config_names_the_file(authority, home, start_agent, mltoken):
    other = home.write("other.conf", "[profile q]\n" + "".join(
        f"{k} = {v}\n" for k, v in service(authority, home).items()))
    assert mltoken("config", "path", env={"MLTOKEN_CONFIG": other}).ok().out == other + "\n"
    assert mltoken("config", "path").ok().out == home.config_path + "\n"
    start_agent(MLTOKEN_CONFIG=other)
    mltoken("get", "q").ok()


def test_config_new_writes_one_that_is_fine(home, mltoken):
    new = ("config", "new", "--profile", "p", "--grant", "device_code", "--authority", "https://login.example.org",
           "--client-id", "x", "--scope", "openid")
    mltoken(*new).ok()
    assert os.stat(home.config_path).st_mode & 0o777 == 0o600
    mltoken("config", "check").ok()
    with open(home.config_path, encoding="utf-8") as f:
        before = f.read()
    assert mltoken(*new).code != 0  # never over an existing profile
    mltoken(*[a if a != "p" else "q" for a in new]).ok()
    with open(home.config_path, encoding="utf-8") as f:
        assert f.read().startswith(before)
    mltoken("config", "check").ok()


# Changes

def test_a_new_profile_is_there_by_itself(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home)})
    start_agent()
    mltoken("get", "q").failed(3)
    home.config({"p": service(authority, home), "q": service(authority, home, "load-1")})
    wait_until(lambda: mltoken("get", "q").code == 0)


def test_written_in_place_and_with_sighup(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home)})
    agent = start_agent()
    with open(home.config_path, "a", encoding="utf-8") as f:
        f.write("\n[profile q]\n" + "".join(f"{k} = {v}\n" for k, v in service(authority, home, "load-1").items()))
    agent.process.send_signal(signal.SIGHUP)
    wait_until(lambda: mltoken("get", "q").code == 0)


def test_a_configuration_that_comes_later(authority, home, start_agent, mltoken):
    start_agent()
    mltoken("get", "p").failed(3)
    home.config({"p": service(authority, home)})
    wait_until(lambda: mltoken("get", "p").code == 0)


def test_a_change_keeps_the_tokens_of_other_profiles(authority, home, start_agent, mltoken):
    authority.set_client("device", auto_approve="alice")
    home.config({"p": service(authority, home), "q": service(authority, home, "load-1"), "me": person(authority)})
    start_agent()
    first = {name: mltoken("get", name).ok().out for name in "pq"}
    mltoken("login", "me", "--json").ok()
    first["me"] = mltoken("get", "me").ok().out
    home.config({"q": service(authority, home, "load-1", scope="changed"), "new": service(authority, home, "load-2"),
                 "p": service(authority, home), "me": person(authority)})
    wait_until(lambda: mltoken("get", "new").code == 0)
    assert mltoken("get", "p").out == first["p"]
    assert mltoken("get", "me").out == first["me"]
    assert mltoken("get", "q").ok().out != first["q"]
    assert authority.requests("token")[-1].form["scope"] == "changed"


def test_a_change_that_breaks_a_profile_keeps_the_others(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home), "q": service(authority, home, "load-1")})
    start_agent()
    first = mltoken("get", "p").ok().out
    mltoken("get", "q").ok()
    home.config({"p": service(authority, home), "q": {**service(authority, home, "load-1"), "colour": "red"}})
    wait_until(lambda: mltoken("get", "q").code == 3)
    assert mltoken("get", "p").ok().out == first


def test_a_removed_profile_is_gone(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home), "q": service(authority, home, "load-1")})
    start_agent()
    mltoken("get", "q").ok()
    home.config({"p": service(authority, home)})
    wait_until(lambda: mltoken("get", "q").code == 3)
    mltoken("get", "p").ok()


def test_an_answer_for_an_old_configuration_is_dropped(authority, home, start_agent, mltoken, varlink):
    home.config({"p": service(authority, home, scope="old"), "seen": service(authority, home)})
    start_agent()
    authority.fault("token", hold=True, times=1)
    v = varlink()
    v.send("GetToken", {"profile": "p"})
    assert authority.wait_for("token")
    home.config({"p": service(authority, home, scope="new"), "seen2": service(authority, home)})
    wait_until(lambda: mltoken("get", "seen2").code == 0)
    authority.release()
    v.receive()  # the old waiter gets an error or a token; nobody after it gets the old one
    mltoken("get", "p").ok()
    assert mltoken("get", "p", "--json").json()["scopes"] == ["new"]


def test_changes_do_not_stop_the_service(authority, home, start_agent):
    """A file rewritten over and over while clients ask: no call fails."""
    home.config({"p": service(authority, home)})
    start_agent()
    with Varlink(home.socket) as v:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            home.config({"p": service(authority, home), f"n{time.monotonic_ns()}": service(authority, home)})
            for _ in range(20):
                v.token("p")
    assert authority.count("token") == 1


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o622, 0o666])
def test_a_file_that_others_can_write_is_named(authority, home, start_agent, mltoken, mode):
    home.config({"p": service(authority, home)}, mode=mode)
    start_agent()
    assert home.config_path in mltoken("get", "p").failed(3)
