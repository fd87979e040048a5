"""What is shipped beside the PAM module: examples that the programs they are for can read, and its folder below /run."""

import os
import re
import shutil
import subprocess

import pytest
from harness import ROOT, program

EXAMPLES = os.path.join(ROOT, "pam", "examples")
MOUNTS = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]


def in_mounts(script, *places):
    return subprocess.run([*MOUNTS, "sh", "-ec", script, *places], capture_output=True, text=True, check=False, timeout=60)


def test_the_helper_reads_pam_conf(home):
    """The authority of the example is not there; that is the only thing that is wrong."""
    path = shutil.copy(os.path.join(EXAMPLES, "pam.conf"), home.home)
    os.chmod(path, 0o640)
    command = [program("mltoken-pam-login"), "--config", path, "--profile", "company", "--max-wait", "30"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=home.env(), text=True) as process:
        said = process.stdout.read()
    assert re.match(r"fail class=(dW5yZWFjaGFibGU|cmVmdXNlZA) ", said), said  # unreachable, or refused where names lead elsewhere


def test_sshd_reads_its_example(home):
    """For whom it is: a key and a code for everybody, and root by a key alone."""
    key = os.path.join(home.home, "key")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)

    def settings(user):
        done = in_mounts('mount -t tmpfs none /run; mkdir -p /run/sshd; exec /usr/sbin/sshd -T -C "$0" -h "$1" -f "$2"',
                         f"user={user},host=localhost,addr=127.0.0.1", key, os.path.join(EXAMPLES, "sshd_config.d-mltoken.conf"))
        assert done.returncode == 0, done.stderr
        return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)

    assert settings("alice")["authenticationmethods"] == "publickey,keyboard-interactive:pam"
    assert settings("root")["authenticationmethods"] == "publickey"
    assert (settings("alice")["usepam"], settings("alice")["kbdinteractiveauthentication"]) == ("yes", "yes")


@pytest.mark.skipif(not os.path.exists("/usr/sbin/pam-auth-update"), reason="this is no Debian")
def test_pam_auth_update_puts_it_after_pam_systemd(home):
    """Only into common-session, which neither cron nor sudo reads."""
    configs, stack, state = (os.path.join(home.path, name) for name in ("configs", "pam.d", "state"))
    shutil.copytree("/etc/pam.d", stack)
    shutil.copytree("/var/lib/pam", state)
    os.mkdir(configs)
    for name in ("unix", "systemd"):
        if os.path.exists("/usr/share/pam-configs/" + name):
            shutil.copy("/usr/share/pam-configs/" + name, configs)
    with open(os.path.join(configs, "systemd"), "w", encoding="ascii") as f:
        f.write("Name: Register user sessions\nDefault: yes\nPriority: 0\nSession-Interactive-Only: yes\n"
                "Session-Type: Additional\nSession:\n\toptional\tpam_systemd.so\n")
    shutil.copy(os.path.join(EXAMPLES, "pam-config"), os.path.join(configs, "mltoken"))
    done = in_mounts('mount --bind "$0" /usr/share/pam-configs; mount --bind "$1" /etc/pam.d; mount --bind "$2" /var/lib/pam; '
                     'pam-auth-update --force --package --enable systemd mltoken </dev/null', configs, stack, state)
    assert done.returncode == 0, done.stderr
    found = {}
    for name in os.listdir(stack):
        with open(os.path.join(stack, name), encoding="utf-8") as f:
            found[name] = re.findall(r"^[^#\n]*(pam_\w+)\.so", f.read(), re.M)
    assert [name for name in found if "pam_mltoken" in found[name]] == ["common-session"], found
    session = found["common-session"]
    assert session.index("pam_systemd") < session.index("pam_mltoken")


def test_the_modules_folders_are_no_agents(home):
    """They are root's, in the folder where the agents of service accounts are: root's own is not looked for there."""
    script = 'mount -t tmpfs none /run; mkdir -p -m 755 /run/mltoken; mkdir -m 700 /run/mltoken/handoff /run/mltoken/rate; ' \
             'exec "$0" status'
    env = {**home.env(XDG_RUNTIME_DIR=None), "MLTOKEN_NO_AUTOSTART": "1"}
    done = subprocess.run([*MOUNTS, "sh", "-ec", script, program("mltoken")], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 7 and "/tmp/mltoken-0" in done.stderr, done
