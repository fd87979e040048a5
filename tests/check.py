#!/usr/bin/python3
"""Runs every unit test program and the system tests, two at a time; the last line counts them all: "N passed, N failed".

Arguments go to pytest (for example: make check CHECK="-k login", or CHECK="-n 0" for one at a time)."""
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("MLTOKEN_BUILD", TOP / "build"))
SIDE_BY_SIDE = 2  # whatever the processors: most of a test's time is waiting, and each has a place of its own


def run_unit(program):
    """(passed, failed, what to show): a program that ends without saying how many it ran counts as one failure."""
    result = subprocess.run([program], cwd=TOP, capture_output=True, text=True, errors="replace", timeout=600)
    output = result.stdout + result.stderr
    good = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", output, re.M))
    bad = sum(int(n) for n in re.findall(r"^\[  FAILED  \] (?:tests: )?(\d+) test", output, re.M))
    shown = ""
    if result.returncode != 0 or "[  PASSED  ]" not in output:
        bad = max(bad, 1)
        shown = output + "\n"
    shown += f"{program.name}: {good} passed, {bad} failed"
    return good, bad, shown


def unit():
    """(passed, failed)"""
    passed = failed = 0
    programs = sorted(p for p in (BUILD / "unit").iterdir() if p.is_file() and os.access(p, os.X_OK) and not p.suffix)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for good, bad, shown in pool.map(run_unit, programs):
            print(shown, flush=True)
            passed += good
            failed += bad
    return passed, failed


def system(arguments):
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        code = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(SIDE_BY_SIDE), f"--junitxml={report}",
             "tests/system", *arguments],
            cwd=TOP, check=False, stdin=subprocess.DEVNULL).returncode
        suite = ElementTree.parse(report).getroot().find("testsuite")
        count = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    return count["tests"] - failed - count["skipped"], max(failed, code != 0), count["skipped"]


def main():
    good, bad = unit()
    more_good, more_bad, skipped = system(sys.argv[1:])
    print(f"{good + more_good} passed, {bad + more_bad} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if bad + more_bad else 0


if __name__ == "__main__":
    sys.exit(main())
