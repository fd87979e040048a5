"""Which agent the programs of a service account find: mltoken-agent@NAME.service has its socket in /run/mltoken/NAME. Root
stands for the account here, in a /run of the test's own; tests/machine has the unit itself."""

import os
import subprocess

import pytest
from harness import program
from namespaces import with_folders

OWN, SERVICE = "/run/user/0/mltoken", "/run/mltoken/batch"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a /run of its own")


@pytest.fixture
def said(home):
    """said({folder, ...}, command...): what it printed, where those folders are in /run."""
    run = os.path.join(home.path, "run")

    def ask(folders, *command, **env):
        for folder in folders:
            os.makedirs(run + folder.removeprefix("/run"), mode=0o700)
        done = subprocess.run([*with_folders(run=run), *command], env=home.env(**env), capture_output=True, text=True, check=False, timeout=120)
        return done.stdout + done.stderr

    return ask


@pytest.mark.parametrize("runtime", [None, "/run/user/0"], ids=["none", "given"])
@pytest.mark.parametrize("folders, found", [({OWN, SERVICE}, SERVICE), ({SERVICE}, SERVICE), ({OWN}, OWN),
                                            ({OWN, "/run/mltoken/handoff", "/run/mltoken/rate"}, OWN)],
                         ids=["both", "service", "own", "folders of PAM"])
def test_its_own_agent_is_not_the_sessions(said, runtime, folders, found):
    """su gives the account a session, and the user manager of that session an agent, which has none of its profiles."""
    if runtime and found == SERVICE and OWN not in folders:
        folders = folders | {runtime}
    assert f"{found}/agent.sock" in said(folders, program("mltoken"), "get", "p", XDG_RUNTIME_DIR=runtime)


@pytest.mark.parametrize("folders, where", [({SERVICE}, "/tmp/mltoken-"), ({OWN}, "/run/user/0/mltoken-")], ids=["service", "own"])
def test_a_private_agent_is_not_put_into_roots_folder(said, folders, where):
    out = said(folders, program("mltoken-agent"), "--", "printenv", "MLTOKEN_SOCK", XDG_RUNTIME_DIR=None)
    assert out.startswith(where), out
