"""Run docker-compose.yml as it is, check what docs/deployment.md promises, tear everything down and write a report.

python deploy/rehearsal/rehearse.py [--keep] [--report FILE] [CHECK…]     as root, in the network of `engine run`
"""

import argparse
import datetime
import os
import platform
import sys
import time
import traceback
from pathlib import Path

import checks
import entrances
import later
from stack import CACHE, Failed, Stack, run

FIRST = [
    checks.start,
    checks.states,
    checks.again,
    checks.doctor,
    checks.orders,
    later.ui,
    checks.isolation,
    checks.schedules,
    checks.observability,
    checks.logs,
    checks.load,
    checks.secrets,
    checks.scaling,
    checks.kills,
    checks.engine,
    checks.backup,
    later.pods,
    later.upgrade,
    later.image,
]
PARTS = {"first": FIRST, "entrances": entrances.ALL}
CLEAR = ["docker", "compose", "-p", "durable-commerce", "down", "--volumes", "--timeout", "5"]
LEFT_OUT = Path(__file__).with_name("left-out.md")


def main() -> int:
    """Run the checks; return the number of those that failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", action="store_true", help="leave the services running")
    parser.add_argument("--report", type=Path, default=Path(__file__).with_name("report.md"))
    parser.add_argument("checks", nargs="*", help="parts (first, entrances) or names of checks; default: all")
    chosen = parser.parse_args()
    begun, rows = time.monotonic(), []
    for part, listed in PARTS.items():
        start, *others = listed
        wanted = [check for check in others if not chosen.checks or {part, check.__name__} & {*chosen.checks}]
        if not wanted:
            continue
        run(*CLEAR, folder=Path("/"), check=False)
        shop = Stack(CACHE / "shop" / "durable-commerce")
        try:
            for check in (start, *wanted):
                rows.append(_tried(check, shop))
                chosen.report.write_text(_report(rows, time.monotonic() - begun))
                if check is start and rows[-1][1] != "yes":
                    break
        finally:
            if not chosen.keep:
                shop.compose("--profile", "*", "down", "--volumes", "--timeout", "5", check=False)
    return sum(result != "yes" for _, result, _, _ in rows)


def _tried(check: checks.Check, shop: Stack) -> tuple[str, str, float, str]:
    """Run a check; return what it checks, whether that is so, the seconds and what it saw."""
    begun = time.monotonic()
    try:
        seen, result = check(shop), "yes"
    except Failed as failure:
        seen, result = str(failure), "**no**"
    except Exception:  # noqa: BLE001 - the other checks still run
        seen, result = traceback.format_exc(), "**no**"
    took = time.monotonic() - begun
    sys.stderr.write(f"{check.__name__}: {result}, {took:.0f} s: {seen}\n")
    return " ".join((check.__doc__ or "").split()), result, took, seen


def _report(rows: list[tuple[str, str, float, str]], took: float) -> str:
    commit = run("git", "describe", "--always", "--dirty").strip()
    engine = run("docker", "version", "--format", "{{.Server.Version}}").strip()
    compose = run("docker", "compose", "version", "--short").strip()
    lines = [
        "# The last rehearsal",
        "",
        f"`make rehearsal` wrote this on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} for commit {commit}:",
        f"engine {engine}, compose {compose}, {os.cpu_count()} cores of {platform.machine()}, {took / 60:.0f} minutes.",
        "",
        "| check | as promised? | seconds | seen |",
        "| --- | --- | --- | --- |",
        *(
            f"| {what} | {result} | {seconds:.0f} | {' '.join(seen.split()).replace('|', '/')[:600]} |"
            for what, result, seconds, seen in rows
        ),
        "",
        LEFT_OUT.read_text().strip(),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
