"""The booted machine as pam_mltoken(8) and the README have an administrator set it up, from what is installed there; and people
at its terminals. The tests fill in what is the authority's own, and say which commented lines of pam.conf count."""

import os
import re

import pexpect
from pam import Pages, Person

EXAMPLES = "/usr/share/doc/mltoken/examples"
CONFIG, MAP, COMPANY = "/etc/mltoken/pam.conf", "/etc/mltoken/pam.map", "/etc/mltoken/config"
HELPER = "/usr/libexec/mltoken/mltoken-pam-login"
CA = "/etc/mltoken/ca.pem"
ROOT_PASSWORD = "root's own word"
SUBJECTS = {"alice": "sub-alice-1", "bob": "sub-bob-2", "carol": "sub-carol-3"}
SERVICES = ("sshd", "login", "su")
GET = "mltoken get company"


def with_value(text, key, value):
    """pam.conf with this value in the line that it has for the key, be that a comment or not; else in a new one."""
    line = f"{key} = {value}"
    text, count = re.subn(rf"^#?{key}\s*=.*$", line, text, flags=re.M)
    assert count <= 1, key
    return text if count else text.replace("[pam]\n", f"[pam]\n{line}\n", 1)


def before_include(text, line):
    """The line of a stack, put before the @include of its kind."""
    include = f"@include common-{line.split()[0]}\n"
    assert text.count(include) == 1, text
    return text.replace(include, line + "\n" + include)


class Gate:
    """The machine with the module in its stacks. undo() gives Debian's own back."""

    def __init__(self, machine, authority):
        self.machine, self.authority, self.pages, self.opened = machine, authority, Pages(authority), []
        run = machine.run
        self.debian = {name: machine.read("/etc/pam.d/" + name) for name in (*SERVICES, "common-session", "common-auth", "common-account")}
        run("systemd-sysusers").ok()
        run("systemd-tmpfiles", "--create")  # says by its status what other packages' lines found, too
        run("sh", "-c", f"install -m 640 -g _mltoken {EXAMPLES}/pam.conf {CONFIG} && install -m 644 {EXAMPLES}/pam.map {MAP}").ok()
        run("systemctl", "--global", "enable", "mltoken-agent.socket").ok()
        run("pam-auth-update", "--enable", "mltoken").ok()
        lines = [line for line in machine.read(f"{EXAMPLES}/pam.d-sshd").splitlines() if line and not line.startswith("#")]
        assert len(lines) == 2, lines
        for name in SERVICES:
            text = before_include(before_include(self.debian[name], lines[0]), lines[1])
            machine.write("/etc/pam.d/" + name, text, mode="0644")
        run("install", "-m", "644", f"{EXAMPLES}/sshd_config.d-mltoken.conf", "/etc/ssh/sshd_config.d/mltoken.conf").ok()
        machine.write("/etc/ssh/sshd_config.d/zz-log.conf", "LogLevel VERBOSE\n", mode="0644")  # for hand_off_time()
        run("systemctl", "restart", "ssh").ok()
        run("chpasswd", input=f"root:{ROOT_PASSWORD}\n").ok()
        self.shipped = machine.read(f"{EXAMPLES}/pam.conf")

    def configure(self, profile=None, **keys):
        """The profile's values into the example, and these keys of [pam]. As after a boot: nothing is counted against anybody."""
        text = self.shipped
        for key, value in {**self.profile(), **(profile or {})}.items():
            text = with_value(text, key, value) if re.search(rf"^{key}\s*=", text, re.M) else text + f"{key} = {value}\n"
        company = text[text.index("[profile company]"):]
        for key, value in keys.items():
            text = with_value(text, key, value)
        self.machine.run("sh", "-c", f"cat > {CONFIG}", input=text).ok()  # the file stays as it was installed
        self.machine.write(COMPANY, company, mode="0644")
        self.trust(self.authority.ca_file)
        self.map("".join(f"{self.authority.https}/oidc sub:{sub} {user}\n" for user, sub in SUBJECTS.items()))
        self.machine.run("sh", "-c", "rm -f /run/mltoken/rate/*").ok()

    def profile(self):
        return {"authority": self.authority.https + "/oidc", "client_id": "device", "ca_file": CA}

    def trust(self, ca_file):
        with open(ca_file, encoding="ascii") as f:
            self.machine.write(CA, f.read(), mode="0644")

    def map(self, lines):
        """These after the comments of the example."""
        self.machine.run("sh", "-c", f"cat {EXAMPLES}/pam.map - > {MAP}", input=lines).ok()

    # People

    def at(self, *words, pages=None):
        child = pexpect.spawn("nsenter", [f"--target={self.machine.leader}", "--all", "--wd=/", *words], timeout=120, encoding="utf-8",
                              codec_errors="backslashreplace", dimensions=(50, 200), env={"PATH": os.environ["PATH"], "TERM": "dumb", "LANG": "C.UTF-8"})
        child.delaybeforesend = None
        self.opened.append(child)
        return Person(pages or self.pages, child)

    def terminal(self, command, **more):
        """On one of the machine's own terminals."""
        return self.at("script", "--quiet", "--return", "--command", command, "/dev/null", **more)

    def ssh(self, user, *options, method="publickey,keyboard-interactive", **more):
        """With a key that may log in as the user."""
        options = ["-o", f"PreferredAuthentications={method}", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                   "-o", "NumberOfPasswordPrompts=1", "-i", self.key(user), *options]
        return self.terminal(" ".join(["ssh -F none", *options, f"{user}@127.0.0.1"]), **more)

    def login(self, user):
        return self.terminal(f"login {user}")

    def key(self, user):
        path, home = f"/etc/ssh/key-{user}", "/root" if user == "root" else f"/home/{user}"
        if not self.machine.exists(path):
            self.machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).ok()
        self.machine.write(f"{home}/.ssh/authorized_keys", self.machine.read(path + ".pub"), user)
        return path

    def hang_up(self):
        """The machine's systemd does not know those at its terminals, and would wait for them at its end."""
        while self.opened:
            self.opened.pop().close(force=True)

    def undo(self):
        """For the tests that follow: nobody's agent is there but who asks for it."""
        run = self.machine.run
        run("systemctl", "--global", "disable", "mltoken-agent.socket").ok()
        run("pam-auth-update", "--disable", "mltoken").ok()
        assert self.machine.read("/etc/pam.d/common-session") == self.debian["common-session"]
        for name in SERVICES:
            self.machine.write("/etc/pam.d/" + name, self.debian[name], mode="0644")
        run("sh", "-c", f"rm -f {CONFIG} {MAP} {COMPANY} /etc/ssh/sshd_config.d/*.conf").ok()
