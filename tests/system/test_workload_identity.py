"""Settings that AKS and other platforms of Azure give a workload by variables: the file of its assertion, ids, the host."""

import os

import pytest

from harness import wait_until

TENANT = "11111111-2222-4333-8444-555555555555"
FORM = {"grant": "client_credentials", "dialect": "entra", "authority": "env:AZURE_AUTHORITY_HOST", "tenant": "env:AZURE_TENANT_ID",
        "client_id": "env:AZURE_CLIENT_ID", "client_assertion_file": "env:AZURE_FEDERATED_TOKEN_FILE", "scope": "x/.default"}


@pytest.fixture
def platform(authority, home):
    """What the platform sets: its tokens are behind links, as kubelet projects them."""
    authority.add_client("workload", grants=("client_credentials",), auth=("private_key_jwt",), public_key="none")
    authority.fault("token", json={"access_token": "accessMARKgiven", "token_type": "Bearer", "expires_in": 3599})
    folder = os.path.dirname(home.write("projected/..first/token", "eyJhbGciOiJub25lIn0.e30.first\n", 0o644))
    os.symlink("..first", os.path.join(os.path.dirname(folder), "..data"))
    os.symlink("..data/token", os.path.join(os.path.dirname(folder), "token"))
    return {"AZURE_AUTHORITY_HOST": authority.http + "/", "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": "workload",
            "AZURE_FEDERATED_TOKEN_FILE": os.path.join(os.path.dirname(folder), "token")}


def test_a_token_by_what_the_platform_says(authority, home, start_agent, mltoken, platform):
    home.config({"p": FORM})
    agent = start_agent(**platform)
    assert mltoken("get", "p").ok().out == "accessMARKgiven\n"
    request = authority.requests("token")[0]
    assert request.path == f"/{TENANT}/oauth2/v2.0/token" and request.form["client_id"] == "workload"
    assert request.form["client_assertion"] == "eyJhbGciOiJub25lIn0.e30.first"
    folder = os.path.dirname(platform["AZURE_FEDERATED_TOKEN_FILE"])
    home.write("projected/..second/token", "eyJhbGciOiJub25lIn0.e30.second\n", 0o644)
    os.symlink("..second", os.path.join(folder, "..new"))
    os.rename(os.path.join(folder, "..new"), os.path.join(folder, "..data"))
    mltoken("get", "p", "--refresh").ok()
    assert authority.requests("token")[1].form["client_assertion"].endswith(".second")
    assert "e30.first" not in agent.log() and "e30.second" not in agent.log()
    with open(f"/proc/{agent.pid}/environ", "rb") as f:
        shown = f.read()
    assert not [v for v in platform.values() if v.encode() in shown]


def test_the_command_starts_an_agent_that_knows_them(home, mltoken, platform, authority):
    home.config({"p": FORM})
    result = mltoken("get", "p", env={**platform, "MLTOKEN_NO_AUTOSTART": None})
    pid = mltoken("status", "--json").json()["agent"]["pid"]
    os.kill(pid, 15)
    assert result.ok().out == "accessMARKgiven\n"
    wait_until(lambda: not os.path.exists(f"/proc/{pid}") or open(f"/proc/{pid}/stat").read().split()[2] == "Z")


@pytest.mark.parametrize("name, key", [("AZURE_TENANT_ID", "tenant"), ("AZURE_CLIENT_ID", "client_id"),
                                       ("AZURE_FEDERATED_TOKEN_FILE", "client_assertion_file")])
@pytest.mark.parametrize("value", [None, ""])
def test_one_that_is_not_set_is_named(authority, home, start_agent, mltoken, platform, name, key, value):
    home.config({"p": FORM})
    start_agent(**{**platform, name: value})
    err = mltoken("get", "p").failed(3)
    assert name in err and key in err and "environment" in err
    assert authority.count() == 0


def test_without_a_host_it_is_the_public_cloud(home, mltoken, platform, start_agent):
    home.config({"p": {**FORM, "dialect": None}})
    del platform["AZURE_AUTHORITY_HOST"]
    start_agent(**platform)
    listed = mltoken("status", "p", "--json").ok().json()
    assert listed["authority"] == f"https://login.microsoftonline.com/{TENANT}/v2.0"


WRONG = {"another name": ({"client_id": "env:CLIENT"}, {}, "env:AZURE_CLIENT_ID alone"),
         "another key's": ({"tenant": "env:AZURE_CLIENT_ID"}, {}, "env:AZURE_TENANT_ID alone"),
         "a bad tenant": ({}, {"AZURE_TENANT_ID": "a/../b"}, "tenant"),
         "a relative path": ({}, {"AZURE_FEDERATED_TOKEN_FILE": "token"}, "whole path"),
         "http elsewhere": ({}, {"AZURE_AUTHORITY_HOST": "http://login.example.org/"}, "http"),
         "too long": ({}, {"AZURE_TENANT_ID": "a" * 254}, "253"),
         "control characters": ({}, {"AZURE_CLIENT_ID": "a\tb\x1b"}, "client_id")}


@pytest.mark.parametrize("case", WRONG)
def test_what_it_says_is_checked_as_if_it_were_written(authority, home, start_agent, mltoken, platform, case):
    keys, environment, said = WRONG[case]
    home.config({"p": {**FORM, **keys}})
    start_agent(**{**platform, **environment})
    assert said in mltoken("get", "p").failed(3)
    check = mltoken("config", "check", env={**platform, **environment})
    assert check.code == 3 and said in check.out + check.err
    assert authority.count() == 0


def test_they_are_there_when_settings_are_read_while_it_is_locked(authority, home, start_agent, mltoken, platform):
    home.config({"p": FORM})
    start_agent(**platform)
    mltoken("get", "p").ok()
    mltoken("lock", input="passphrase\n").ok()
    home.config({"p": {**FORM, "timeout": "20"}, "q": FORM})
    wait_until(lambda: '"q"' in mltoken("status", "--json").out)
    assert "invalid" not in mltoken("status").ok().out
    mltoken("unlock", input="passphrase\n").ok()
    mltoken("get", "q").ok()


def test_config_new_and_doctor(home, mltoken, platform, start_agent):
    mltoken("config", "new", "--from", "workload-identity", "--profile", "p", "--scope", "x/.default").ok()
    mltoken("config", "check", env={**platform, "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.us/"}).ok()
    check = mltoken("config", "check")
    assert check.code == 3 and "AZURE_TENANT_ID" in check.out + check.err
    home.config({"p": FORM})
    os.remove(platform["AZURE_FEDERATED_TOKEN_FILE"])
    said = mltoken("doctor", "p", env=platform)
    assert said.code != 0 and platform["AZURE_FEDERATED_TOKEN_FILE"] in said.out
