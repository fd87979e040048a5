#!/usr/bin/python3
"""`make demo`: the main job on an embedded authority, in a temporary directory that is gone afterwards.

Every line that starts with "$" is a command as a person would type it; what follows is what it really printed."""
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

TOP = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("MLTOKEN_BUILD", TOP / "build"))
AUTHORITY = TOP / "tests" / "system" / "authority"
SECRET = "secretMARKplain0123456789"  # the authority's client "svc" has it

CONFIG = """[agent]
default_profile = svc

# a service: client credentials
[profile svc]
grant         = client_credentials
authority     = {oidc}
client_id     = svc
client_secret = file:{home}/client_secret
scope         = api.read

# a person: device code
[profile me]
grant     = device_code
authority = {oidc}
client_id = device
scope     = openid offline_access
"""


class Demo:
    def __init__(self, home, urls):
        self.home, self.urls = home, urls
        self.env = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), "LANG": "C.UTF-8", "MLTOKEN_NO_AUTOSTART": "1",
                    "PATH": f"{BUILD}:{os.environ['PATH']}"}

    def configure(self):
        (self.home / "run").mkdir(mode=0o700)
        secret = self.home / "client_secret"
        secret.touch(mode=0o600)
        secret.write_text(SECRET)
        config = self.home / ".config" / "mltoken" / "config"
        config.parent.mkdir(parents=True, mode=0o700)
        config.write_text(CONFIG.format(oidc=self.urls["oidc"], home=self.home))
        config.chmod(0o600)

    def requests(self):
        """How many token requests the authority has seen."""
        with urlopen(self.urls["control"] + "/state", timeout=60) as reply:
            return json.load(reply)["counters"].get("token", 0)

    def run(self, command, note=None):
        print(f"\n$ {command}" + (f"        # {note}" if note else ""), flush=True)
        started = time.monotonic()
        result = subprocess.run(["/bin/sh", "-c", command], env=self.env, capture_output=True, text=True, timeout=60)
        took = (time.monotonic() - started) * 1000
        shown = re.sub(r"(ey[\w-]{20})[\w.-]{40,}", r"\1...", result.stdout + result.stderr)
        print(shown.rstrip(), flush=True)
        if result.returncode != 0:
            raise SystemExit(f"demo: {command!r} ended with status {result.returncode}")
        return took

    def sign_in(self):
        print("\n$ mltoken login me        # a scripted browser types the code and approves", flush=True)
        login = subprocess.Popen(["mltoken", "login", "me", "--json"], env=self.env, stdout=subprocess.PIPE, text=True)
        try:
            for line in login.stdout:
                reply = json.loads(line)
                if reply["state"] == "prompt":
                    prompt = reply["prompt"]
                    print(f"To sign in, open  {prompt['verificationUri']}\nand enter the code  {prompt['userCode']}", flush=True)
                    subprocess.run([sys.executable, AUTHORITY, "browser", "--ca-file", self.urls["ca_file"],
                                    prompt["verificationUri"], prompt["userCode"], "--as", "alice"], check=True, timeout=60)
                else:
                    print(f"signed in as {reply.get('account')}", flush=True)
            if login.wait(timeout=60) != 0:
                raise SystemExit(f"demo: mltoken login ended with status {login.returncode}")
        finally:
            if login.poll() is None:
                login.kill()


def play(demo):
    demo.configure()
    agent = subprocess.Popen([BUILD / "mltoken-agent", "--foreground"], env=demo.env, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            if (demo.home / "run/mltoken/agent.sock").exists():
                break
            time.sleep(0.02)
        print(f"authority {demo.urls['oidc']}, agent pid {agent.pid}")
        demo.run("mltoken config check")
        first = demo.run("mltoken get svc", "client credentials, from the authority")
        count = demo.requests()
        second = demo.run("mltoken get svc", "again, from memory")
        if demo.requests() != count:
            raise SystemExit("demo: the second get was not served from memory")
        print(f"({first:.1f} ms, then {second:.1f} ms; token requests at the authority: {count}, then {demo.requests()})")
        demo.sign_in()
        demo.run("mltoken get me")
        demo.run("mltoken status")
        demo.run("mltoken show svc", "what the token says; never the token")
        demo.run("mltoken exec me --env TOKEN -- sh -c 'echo the program sees a token of ${#TOKEN} characters'")
        demo.run("mltoken logout me", "revoked at the authority, forgotten here")
    finally:
        agent.terminate()
        agent.wait(timeout=60)
    print(f"\nagent ended with status {agent.returncode}")
    if agent.returncode != 0:
        raise SystemExit(1)


def main():
    os.umask(0o077)
    with tempfile.TemporaryDirectory(prefix="mltoken-demo-") as directory:
        authority = subprocess.Popen([sys.executable, AUTHORITY, "--port", "0"], stdout=subprocess.PIPE, text=True)
        try:
            play(Demo(Path(directory), json.loads(authority.stdout.readline())))
        finally:
            authority.terminate()
            authority.wait(timeout=60)
    print("everything was stopped and removed")


if __name__ == "__main__":
    main()
