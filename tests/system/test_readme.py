"""What the README shows must run as it stands there."""

import os
import re
import subprocess
import sys

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def readme():
    with open(os.path.join(TOP, "README.md"), encoding="utf-8") as f:
        return f.read()


def block(language):
    return re.findall(rf"^```{language}\n(.*?)^```", readme(), re.M | re.S)


def run_lines(home, profile):
    """The README's Python, and one line that uses it, by a Python that sees nothing but its standard library."""
    (lines,) = block("python")
    return subprocess.run([sys.executable, "-I", "-c", lines + f"print(token({profile!r}))"], env=home.env(), text=True,
                          capture_output=True, timeout=60, check=False)


def test_python_lines_read_a_token(authority, home, start_agent, mltoken):
    home.config({"svc": {"grant": "client_credentials", "authority": authority.oidc, "client_id": "svc",
                         "client_secret": home.secret("secretMARKplain0123456789")}})
    start_agent()
    result = run_lines(home, "svc")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == mltoken("get", "svc").out.strip() != ""


def test_python_lines_say_what_failed(authority, home, start_agent):
    home.config({"me": {"grant": "device_code", "authority": authority.oidc, "client_id": "device", "scope": "openid"}})
    start_agent()
    result = run_lines(home, "me")
    assert result.returncode != 0
    assert "org.mltoken.agent.LoginRequired" in result.stderr


def test_python_lines_are_ten():
    (lines,) = block("python")
    assert len([line for line in lines.splitlines() if line.strip()]) == 10


def test_profiles_are_sound(home, mltoken):
    home.config(text="\n".join(block("ini")))
    result = mltoken("config", "check")
    assert (result.code, result.out) == (0, "OK: 2 profiles\n"), result.err


def test_demo_table_names_what_the_demo_runs():
    with open(os.path.join(TOP, "tests", "demo", "demo.py"), encoding="utf-8") as f:
        demo = f.read()
    commands = re.findall(r"^\| `mltoken ([a-z ]+?[a-z]+)[ `]", readme(), re.M)
    assert len(commands) >= 9
    for command in commands:
        assert f"mltoken {command}" in demo, command
