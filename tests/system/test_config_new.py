"""mltoken config new: what it writes is fine, says what it is for, and its "next:" line leads to a token."""

import json
import os
import re
import stat

import pexpect
import pytest

from harness import PATIENCE, ROOT, program, wait_until

TENANT = "contoso.onmicrosoft.com"
EVERYTHING = {"--authority": "https://login.example.org/realms/ml", "--tenant": TENANT, "--client-id": "some-client",
              "--username": "alice", "--policy": "B2C_1_flow", "--parent": "p0", "--resource": "00000003-0000-0000-c000-000000000000", "--scope": "openid"}


GROUP = "https://management.azure.com/subscriptions/s/resourceGroups/g/providers/"
ENDPOINT = GROUP + "Microsoft.MachineLearningServices/workspaces/w/onlineEndpoints/e"
ARM = {"azure_key": GROUP + "Microsoft.CognitiveServices/accounts/a", "azureml_key": ENDPOINT, "azureml_token": ENDPOINT}
B2C = "https://contoso.b2clogin.com/contoso.onmicrosoft.com"


def text(home):
    with open(home.config_path, encoding="utf-8") as f:
        return f.read()


def new(mltoken, *args):
    return mltoken("config", "new", *args)


def templates(mltoken):
    return mltoken("config", "new", "--list", "--json").ok().json()


def needs(result):
    found = re.search(r"config new: (--[a-z-]+) is needed", result.err)
    return found.group(1) if found else None


def test_every_template_makes_a_profile_that_is_fine(home, mltoken):
    listed = templates(mltoken)
    assert {"azure-openai", "azureml", "mlserver", "entra", "keycloak"} <= {t["name"] for t in listed}
    for i, template in enumerate(listed):
        args = ["--from", template["name"], "--grant", template["grant"], "--profile", f"p{i}"]
        result = new(mltoken, *args)
        while result.code == 2:  # what is needed is named, one after the other
            option = needs(result)
            assert option in EVERYTHING, result.err
            b2c = (template["name"], option) == ("b2c", "--authority")
            arm = ARM.get(template["grant"]) if option == "--authority" else None
            args += [option, arm or (B2C if b2c else EVERYTHING[option])]
            result = new(mltoken, *args)
        result.ok()
        assert result.err.startswith("next: mltoken ") and f"p{i}" in result.err
        check = mltoken("config", "check", env={"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": "x",
                                                "AZURE_FEDERATED_TOKEN_FILE": "/var/run/token"})
        assert check.code == 0, (template, check.out, check.err, text(home))
    written = text(home)
    for i, template in enumerate(listed):
        assert f"[profile p{i}]\ngrant         = {template['grant']}\n" in written
        assert f"# {template['about']}\n" in written


def test_every_grant_has_a_template(mltoken):
    with open(os.path.join(ROOT, "agent", "grant", "grant.c"), encoding="utf-8") as f:
        table = re.search(r"table\[\] = \{(.*?)\};", f.read(), re.S).group(1)
    grants = set(re.findall(r"&grant_(\w+)", table))
    assert grants <= {t["grant"] for t in templates(mltoken)}


PROOFS = {"certificate": (["--client-certificate", "/c.pem"], {"client_certificate = /c.pem"}),
          "certificate and key": (["--client-certificate", "/c.pem", "--client-key", "~/k.pem"],
                                  {"client_certificate = /c.pem", "client_key    = ~/k.pem"}),
          "key": (["--client-key", "/k.pem"], {"client_key    = /k.pem"}),
          "assertion": (["--client-assertion-file", "/var/run/t"], {"client_assertion_file = /var/run/t"}),
          "a platform's assertion": (["--client-assertion-file", "env:AZURE_FEDERATED_TOKEN_FILE"],
                                     {"client_assertion_file = env:AZURE_FEDERATED_TOKEN_FILE"}),
          "file": (["--client-secret", "file:/x"], {"client_secret = file:/x"}),
          "nothing said": ([], {"client_secret = stored"})}


@pytest.mark.parametrize("proof", PROOFS)
def test_how_the_client_proves_who_it_is(home, mltoken, proof):
    options, lines = PROOFS[proof]
    result = new(mltoken, "--from", "azure-openai", "--tenant", TENANT, "--client-id", "x", *options).ok()
    written = text(home).splitlines()
    assert lines <= set(written)
    assert ("client_secret = stored" in written) == (proof == "nothing said")
    assert ("mltoken secret set azure-openai client_secret" in result.err) == (proof == "nothing said")
    mltoken("config", "check", env={"AZURE_FEDERATED_TOKEN_FILE": "/var/run/token"}).ok()


def test_the_next_line_leads_to_a_token(authority, home, start_agent, mltoken):
    start_agent()
    result = new(mltoken, "--grant", "client_credentials", "--profile", "svc", "--authority", authority.oidc,
                 "--client-id", "svc", "--scope", "api").ok()
    assert result.err == "next: mltoken secret set svc client_secret, then: mltoken get svc\n"
    wait_until(lambda: mltoken("secret", "list", "svc").code == 0)
    mltoken("secret", "set", "svc", "client_secret", input=authority.client("svc").secret + "\n").ok()
    mltoken("get", "svc").ok()
    result = new(mltoken, "--grant", "device_code", "--profile", "me", "--authority", authority.oidc,
                 "--client-id", "device").ok()
    assert result.err == "next: mltoken login me\n"
    result = new(mltoken, "--from", "mlserver", "--profile", "mls", "--authority", authority.mls, "--username", "alice",
                 "--password", "-").ok()
    assert result.err == "next: mltoken login mls\n"
    assert "password" not in text(home).partition("[profile mls]")[2]
    result = new(mltoken, "--from", "mlserver", "--profile", "mls2", "--authority", authority.mls,
                 "--username", "alice").ok()
    assert result.err == "next: mltoken secret set mls2 password, then: mltoken get mls2\n"
    wait_until(lambda: mltoken("secret", "list", "mls2").code == 0)
    mltoken("secret", "set", "mls2", input="correct horse\n").ok()  # the only stored one: no name is needed
    mltoken("get", "mls2").ok()


WRONG = {"system": (["--from", "azure"], "azure-openai"),
         "grant of a system": (["--from", "keycloak", "--grant", "mlserver"], "device_code, authorization_code, client_credentials"),
         "grant": (["--grant", "implicit"], "use one of"),
         "neither": ([], "--list"),
         "two proofs": (["--from", "entra", "--tenant", "t", "--client-id", "x", "--client-secret", "stored", "--client-key", "/k"], "one way"),
         "a literal secret": (["--from", "azure-openai", "--tenant", "t", "--client-id", "x", "--client-secret",
                               "hunter2MARK"], "not the secret"),
         "a relative path": (["--from", "azure-openai", "--tenant", "t", "--client-id", "x", "--client-key", "k.pem"],
                             "whole path"),
         "another variable": (["--from", "azure-openai", "--tenant", "t", "--client-id", "x", "--client-assertion-file",
                               "env:TOKEN_FILE"], "whole path"),
         "two lines": (["--from", "azure-openai", "--tenant", "t", "--client-id", "x\n[agent]"], "one line"),
         "tenant": (["--from", "azure-openai", "--tenant", "a b", "--client-id", "x"], "letters"),
         "no use": (["--from", "azure-openai", "--tenant", "t", "--client-id", "x", "--username", "a"], "means nothing"),
         "name": (["--from", "azure-openai", "--profile", "../x"], "64 letters")}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused_writes_nothing(home, mltoken, case):
    args, said = WRONG[case]
    err = new(mltoken, *args).failed(2)
    assert said in err and "hunter2MARK" not in err
    assert not os.path.exists(home.config_path)


def dialogue(home, *args):
    return pexpect.spawn(program("mltoken"), list(args), env=home.env(TERM="xterm"), timeout=PATIENCE, encoding="utf-8",
                         dimensions=(50, 500))


def answer(child, *pairs):
    for question, reply in pairs:
        child.expect_exact(question)
        child.sendline(reply)


def test_a_person_is_asked(home, mltoken):
    child = dialogue(home, "config", "new")
    answer(child, ("What for?", "azure-openai"), ("Grant: ", ""), ("Name of the profile", "aoai"), ("Tenant", "a b"),
           ("Tenant", TENANT), ("Client id", ""), ("this is needed", "some-client"), ("Proof of the client", "nonsense"),
           ("Proof of the client", "certificate"), ("certificate", "~/c.pem"), ("private key", ""))
    child.expect_exact("mltoken get aoai")
    child.expect(pexpect.EOF)
    mltoken("config", "check").ok()
    assert "client_certificate = ~/c.pem\n" in text(home) and "client_key" not in text(home)
    assert stat.S_IMODE(os.stat(home.config_path).st_mode) == 0o600


def test_the_end_of_input_writes_nothing(home, mltoken):
    child = dialogue(home, "config", "new", "--from", "keycloak")
    child.expect_exact("Name of the profile")
    child.sendeof()
    child.expect_exact("nothing was written")
    child.expect(pexpect.EOF)
    assert not os.path.exists(home.config_path)


# which secret is meant when none is named

def two_secrets(authority):
    return {"grant": "password", "authority": authority.oidc, "client_id": "x", "username": "alice", "scope": "api",
            "client_secret": "stored", "password": "stored"}


def test_of_several_secrets_one_is_to_be_named(authority, home, start_agent, mltoken):
    home.config({"p": two_secrets(authority)})
    start_agent()
    err = mltoken("secret", "set", "p", input="valueMARK\n").failed(2)
    assert "client_secret" in err and "password" in err and "MARK" not in err
    child = dialogue(home, "secret", "set", "p")
    child.expect_exact("(client_secret, password)")
    child.sendline("password")
    child.expect_exact("password of p: ")
    child.sendline("typedMARK")
    child.expect(pexpect.EOF)
    assert "typedMARK" not in child.before
    present = {s["name"]: s["present"] for s in mltoken("secret", "list", "p", "--json").ok().json()}
    assert present == {"client_secret": False, "password": True}


def test_the_listing_says_what_is_stored(authority, home, start_agent, mltoken):
    home.config({"p": {**two_secrets(authority), "client_secret": home.secret("x")}})
    start_agent()
    listed = {s["name"]: s["stored"] for s in json.loads(mltoken("secret", "list", "p", "--json").ok().out)}
    assert listed == {"client_secret": False, "password": True}


# the context dictionary of Machine Learning Server's Python client

WEB, NATIVE = "0d4d1b1e-0000-4000-8000-00000000cafe", "5a4ce2b9-0000-4000-8000-00000000beef"
CONTEXT = {"authuri": "https://login.windows.net", "tenant": "contoso.com", "clientid": NATIVE, "resource": WEB}
PASTED = {"python": f"""context = {{ # for the model
    'authuri': "https://login.windows.net",
    'tenant': 'contoso.com',  # ours
    'clientid': '{NATIVE}',
    'resource': '{WEB}',
    'username': 'alice@contoso.com',
    'password': 'hunter2MARK',
    'timeout': 30, 'proxy': None,
}}
""", "json": json.dumps({**CONTEXT, "username": "alice@contoso.com", "password": "hunter2MARK", "x": True}),
          "one line": repr({**CONTEXT, "username": "alice@contoso.com", "password": "hunter2MARK"}),
          "escapes": json.dumps({**CONTEXT, "username": "alice@contoso.com", "password": "\"'\\/hunter2MARK"})
          .replace("https://", "https:\\/\\/")}


def imported(mltoken, given, *args):
    return mltoken("config", "import-mlserver", *args, input=given)


@pytest.mark.parametrize("form", PASTED)
def test_a_context_dictionary_becomes_a_profile(home, mltoken, form):
    result = imported(mltoken, PASTED[form]).ok()
    assert "next: mltoken login mlserver\n" in result.err and "not taken over" in result.err
    profile = dict(re.findall(r"^(\w+) += (.*)$", text(home).partition("[profile mlserver]")[2], re.M))
    assert profile == {"grant": "device_code", "authority": "https://login.windows.net", "dialect": "entra_v1",
                       "tenant": "contoso.com", "client_id": NATIVE, "resource": WEB}
    mltoken("config", "check").ok()
    assert "hunter2MARK" not in text(home) + result.out + result.err
    path = home.write("context.py", PASTED[form])
    result = mltoken("config", "import-mlserver", path, "--profile", "robot", "--grant", "password").ok()
    assert "next: mltoken secret set robot password, then: mltoken get robot\n" in result.err
    profile = dict(re.findall(r"^(\w+) += (.*)$", text(home).partition("[profile robot]")[2], re.M))
    assert profile["username"] == "alice@contoso.com" and profile["password"] == "stored"
    mltoken("config", "check").ok()
    assert "hunter2MARK" not in text(home)


def test_an_imported_profile_gets_tokens(authority, home, start_agent, mltoken):
    client = NATIVE
    authority.add_client(client, grants=("device_code", "refresh_token"), interval=1, auto_approve="alice",
                         refresh_token="always")
    imported(mltoken, repr({**CONTEXT, "authuri": authority.http, "clientid": client}), "--profile", "ml").ok()
    start_agent()
    mltoken("login", "ml", "--json").ok()
    mltoken("get", "ml").ok()
    sent = authority.requests("device")[0]
    assert sent.path == "/contoso.com/oauth2/devicecode" and sent.form["resource"] == WEB and "scope" not in sent.form


LONG = "x" * 2049
UNREADABLE = {"nothing": ("", "nothing to read"), "no dictionary": ("print('x')", "dictionary"), "a list": ("[]", "dictionary"),
              "not closed": (repr(CONTEXT)[:-1], "comma"), "no quotes": ("{authuri: 1}", "quotes"),
              "an open text": ("{'authuri': 'https://a", "does not end"), "code": ("{'authuri': os.environ['X']}", "comma"),
              "a call": ("{'authuri': __import__('os').system('x')}", "comma"), "nested": ("{'authuri': {}}", "text in quotes"),
              "more behind": (repr(CONTEXT) + "; print(1)", "follows"), "twice": ("{'tenant': 'a', 'tenant': 'b'}", "twice"),
              "long text": ("{'tenant': '" + LONG + "'}", "2048"), "long input": ("{" + " " * 16385 + "}", "longer"),
              "an escape": (r"{'tenant': '\x41'}", "escapes"), "a control character": ("{'tenant': 'a\tb'}", "control"),
              "two lines": ("{'tenant': 'a\nb'}", "does not end"), "many": ("{" + "'a': 1, " * 65 + "}", "more members"),
              "no tenant": (repr({k: v for k, v in CONTEXT.items() if k != "tenant"}), "tenant: it is missing"),
              "a template": (repr({**CONTEXT, "resource": "{{WEB_APP_CLIENT_ID}}"}), "resource"),
              "an address": (repr({**CONTEXT, "resource": "https://a.example"}), "resource"),
              "plain http": (repr({**CONTEXT, "authuri": "http://login.windows.net"}), "authuri"),
              "a bad tenant": (repr({**CONTEXT, "tenant": "a b"}), "tenant")}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_no_context_is_writes_nothing(home, mltoken, case):
    given, said = UNREADABLE[case]
    assert said in imported(mltoken, given).failed(2)
    assert not os.path.exists(home.config_path)


def test_import_options(home, mltoken):
    imported(mltoken, PASTED["json"], "--grant", "static").failed(2)
    imported(mltoken, PASTED["json"], "--password", "file:/x").failed(2)
    assert "hunter2" not in imported(mltoken, PASTED["json"], "--grant", "password", "--password", "hunter2").failed(2)
    assert "username" in imported(mltoken, repr(CONTEXT), "--grant", "password").failed(2)
    assert not os.path.exists(home.config_path)
    imported(mltoken, repr(CONTEXT)).ok()
    before = text(home)
    assert "already" in imported(mltoken, repr(CONTEXT)).failed(3)
    assert text(home) == before
