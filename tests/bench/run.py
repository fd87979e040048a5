#!/usr/bin/python3
"""Prints the table of DESIGN's bar, measured in one run on this machine.

    run.py [--quick] [--json] [--build DIR] [ROW...]

Ratios are taken against neighbours in time: what is compared takes turns within the run. A missed bar is printed as
such and is no error; the exit status is 1 only when something could not be measured at all.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import signal
import sys
import time

import rows
from stage import NotMeasured, Stage

ROOT = pathlib.Path(__file__).resolve().parents[2]


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="ascii", errors="replace")
                  if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def measure(stage, effort, names):
    """Yields a Row, or a (name, reason) for what could not be measured."""
    authority = stage.authority()
    for name in names:
        try:
            with stage.act():
                yield from rows.ACTS[name](stage, effort, authority)
        except (NotMeasured, OSError, ValueError, KeyError) as error:
            yield name, str(error) or repr(error)


def print_table(found):
    table = [("what", "figure", "bar", "", "measured")]
    table += [(row.what, row.figure, row.bar, {True: "met", False: "MISSED", None: ""}[row.met], row.measured) for row in found]
    widths = [max(len(line[i]) for line in table) for i in range(4)]
    for number, line in enumerate(table):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)) + "  " + line[4])
        if number == 0:
            print("  ".join("-" * width for width in widths) + "  " + "-" * len(line[4]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="short and rough: shows that every row can be measured")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--build", default=os.environ.get("MLTOKEN_BUILD", ROOT / "build"),
                        help="where the programs are (MLTOKEN_BUILD, else build)")
    parser.add_argument("row", nargs="*", help="only these: " + " ".join(rows.ACTS), metavar="ROW")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.row if name not in rows.ACTS]
    if unknown:
        parser.error(f"no row is called {unknown[0]}; there are: {' '.join(rows.ACTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    found, missing = [], []
    began = time.strftime("%Y-%m-%d %H:%M %Z")
    load = os.getloadavg()[0]
    with Stage(arguments.build) as stage:
        for row in measure(stage, rows.QUICK if arguments.quick else rows.FULL, arguments.row or rows.ACTS):
            (found if isinstance(row, rows.Row) else missing).append(row)
            if not arguments.json:
                print(f"  {row.what if isinstance(row, rows.Row) else row[0]} ...", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"date": began, "machine": machine(), "load": load, "quick": arguments.quick,
                          "rows": [dataclasses.asdict(row) for row in found], "not_measured": dict(missing)}, indent=1))
    else:
        print(f"{began}, {machine()}, load before the run {load:.2f}{', quick' if arguments.quick else ''}\n")
        print_table(found)
        print(f"\n{len(found)} figures, {sum(row.met is True for row in found)} bars met, "
              f"{sum(row.met is False for row in found)} missed")
        for name, reason in missing:
            print(f"not measured: {name}: {reason}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
