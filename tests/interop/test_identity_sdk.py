"""What our agent asks a platform for an identity, field by field beside what Azure's own SDK (npm) asks the same one."""

import json
import os
import shutil
import subprocess

import pytest

import interop_oidc_provider
from authority import Authority
from harness import Agent, Command, Home
from namespaces import run_in, with_folders

SCOPE = "https://ml.azure.com/.default"
USER = {"client_id": "11111111-2222-3333-4444-555555555555", "object_id": "66666666-2222-3333-4444-555555555555",
        "mi_res_id": "/subscriptions/S/resourceGroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/U"}
OPTIONS = {"client_id": "clientId", "object_id": "objectId", "mi_res_id": "resourceId"}
KEY = "keyfileMARK-0123456789abcdef"
HEADERS = ("metadata", "x-identity-header", "secret", "authorization")


@pytest.fixture
def platform():
    with Authority() as made:
        made.set_identity(users=[USER])
        yield made


@pytest.fixture
def home():
    made = Home()
    yield made
    made.remove()


def environment(platform, kind):
    return {
        "imds": {"AZURE_POD_IDENTITY_AUTHORITY_HOST": platform.http},
        "app_service": {"IDENTITY_ENDPOINT": platform.http + "/msi/token", "IDENTITY_HEADER": platform.identity.secret},
        "azureml": {"MSI_ENDPOINT": platform.http + "/msi/token", "MSI_SECRET": platform.identity.secret,
                    "DEFAULT_IDENTITY_CLIENT_ID": USER["client_id"]},
        "cloud_shell": {"MSI_ENDPOINT": platform.http + "/shell/token"},
        "service_fabric": {"IDENTITY_ENDPOINT": platform.https + "/metadata/identity/oauth2/token",
                           "IDENTITY_HEADER": platform.identity.secret,
                           "IDENTITY_SERVER_THUMBPRINT": platform.ca.thumbprint(),
                           "NODE_EXTRA_CA_CERTS": platform.ca_file},
        "arc": {"IDENTITY_ENDPOINT": platform.http + "/metadata/identity/oauth2/token", "IMDS_ENDPOINT": platform.http},
    }[kind]


def asked(platform):
    """The requests so far: method, path, parameters and the headers that mean something; they are forgotten."""
    found = [(r.method, r.path.rstrip("/"), r.form or r.query, {h: r.headers[h] for h in HEADERS if h in r.headers})
             for r in platform.requests("identity")]
    platform.forget_requests()
    return found


def by_sdk(platform, folder, home, kind, options, prefix):
    shutil.copyfile(interop_oidc_provider.HERE / "node" / "identity.mjs", folder / "identity.mjs")
    done = subprocess.run([*prefix, interop_oidc_provider.node(folder), str(folder / "identity.mjs"), SCOPE, json.dumps(options)], timeout=180,
                          env=home.env(**environment(platform, kind)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return asked(platform), json.loads(done.stdout)


def by_agent(platform, home, kind, keys):
    home.config({"p": {"grant": "managed_identity", "scope": SCOPE, "source": kind, **keys}})
    agent = Agent(home, **environment(platform, kind)).start()
    token = json.loads(Command(home)("get", "p", "--json").ok().out)
    agent.stop()
    return asked(platform), token


@pytest.mark.parametrize("kind, key", [
    ("imds", None), ("imds", "client_id"), ("imds", "object_id"), ("imds", "mi_res_id"),
    ("app_service", None), ("app_service", "client_id"), ("app_service", "object_id"), ("app_service", "mi_res_id"),
    ("azureml", None), ("azureml", "client_id"), ("cloud_shell", None), ("arc", None),
    ("service_fabric", None),
])
def test_the_same_is_asked(platform, oidc_provider_folder, home, kind, key):
    prefix = []
    if kind == "arc":
        folder = os.path.join(home.path, "var_opt")
        os.makedirs(os.path.join(folder, "azcmagent", "tokens"))
        with open(os.path.join(folder, "azcmagent", "tokens", "a.key"), "w", encoding="ascii") as f:
            f.write(KEY)
        platform.set_identity(key=KEY, challenge="/var/opt/azcmagent/tokens/a.key")
        prefix = with_folders(var_opt=folder)
        run_in(home, prefix)
    theirs, token = by_sdk(platform, oidc_provider_folder, home, kind, {OPTIONS[key]: USER[key]} if key else {}, prefix)
    ours, mine = by_agent(platform, home, kind, {key: USER[key]} if key else {})
    assert ours and ours == theirs
    assert abs(mine["expiresAt"] - token["expires"] / 1000) < 120
