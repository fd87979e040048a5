#!/usr/bin/python3
"""lib/org.mltoken.agent.varlink and the code agree: methods, their parameters with types, and errors.

The code has them in agent/server/methods.c, agent/token/failure.c and lib/error.c."""
import re
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
TYPES = {"PARAMETER_TEXT": "string", "PARAMETER_INTEGER": "int", "PARAMETER_BOOLEAN": "bool", "PARAMETER_TEXTS": "[]string"}
troubles = []


def differ(what, described, coded):
    for name in sorted(set(described) | set(coded)):
        if described.get(name) != coded.get(name):
            troubles.append(f"{what} {name}: described as {described.get(name)}, coded as {coded.get(name)}")


def members(text):
    """[(name, type)] of a struct type's inside; types that hold commas are flattened first."""
    text = re.sub(r"\([^()]*\)", "()", text)
    return [tuple(part.strip() for part in item.split(":", 1)) for item in text.split(",") if item.strip()]


def inside(text, start):
    """What stands between the parenthesis at start and its partner."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return text[start + 1:at]
    raise ValueError("parenthesis without a partner")


def described():
    text = re.sub(r"#.*", "", (TOP / "lib/org.mltoken.agent.varlink").read_text(encoding="utf-8"))
    methods = {m[1]: members(inside(text, m.end() - 1)) for m in re.finditer(r"^method (\w+) *\(", text, re.M)}
    errors = {m[1]: members(inside(text, m.end() - 1)) for m in re.finditer(r"^error (\w+) *\(", text, re.M)}
    return methods, errors


def coded_methods():
    text = (TOP / "agent/server/methods.c").read_text(encoding="utf-8")
    for name, body in re.findall(r"^#define (\w+) +(\{.*\})$", text, re.M):
        text = re.sub(rf"(?<=[{{,\s]){name}(?=[,}}\s])", lambda _, body=body: body, text)
    table = text[text.index("methods[] = {"):]
    table = table[:table.index("\n};")]
    methods = {}
    for entry in re.split(r"\.name = ", table)[1:]:
        name = re.match(r'MESSAGE_INTERFACE "\.(\w+)"', entry)
        if name:
            found = re.findall(r'\{"(\w+)",\s*(PARAMETER_\w+),\s*[^,{}]+,\s*(true|false)\}', entry)
            methods[name[1]] = [(p, ("" if required == "true" else "?") + TYPES[kind]) for p, kind, required in found]
    return methods


def main():
    methods, errors = described()
    coded = coded_methods()
    if len(methods) < 5 or len(errors) < 10 or not any(coded.values()):
        sys.exit("check_varlink: the description or the table was not understood")
    differ("method", methods, coded)
    names = dict.fromkeys(errors, "an error")
    failure = re.findall(r'\[FAILURE_\w+\] = "(\w+)"', (TOP / "agent/token/failure.c").read_text(encoding="utf-8"))
    library = re.findall(r'^ *\{MLTOKEN_\w+, "[^"]*", "(\w+)"\}', (TOP / "lib/error.c").read_text(encoding="utf-8"), re.M)
    differ("agent/token/failure.c: error", names, dict.fromkeys(set(failure) - {"None"}, "an error"))
    differ("lib/error.c: error", names, dict.fromkeys(library, "an error"))
    if troubles:
        sys.exit("check_varlink: " + "\ncheck_varlink: ".join(troubles))


main()
