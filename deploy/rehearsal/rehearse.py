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
import narrow
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
    checks.kills,
    checks.engine,
    checks.scaling,
    later.roll,
    checks.backup,
    later.upgrade,
    later.pods,
    later.image,
    later.observability,
    checks.logs,
    checks.load,
    checks.secrets,
]
PARTS = {"first": FIRST, "entrances": entrances.ALL, "narrow": narrow.ALL}
TITLES = {
    "first": "The compose file",
    "entrances": "The ways in that it does not use by itself",
    "narrow": "IPv6 alone, a full disk, and tokens",
}
CLEAR = ["docker", "compose", "-p", "durable-commerce", "down", "--volumes", "--timeout", "5"]
LEFT_OUT = Path(__file__).with_name("left-out.md")


def main() -> int:
    """Run the checks; return the number of those that failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", action="store_true", help="leave the services running")
    parser.add_argument("--report", type=Path, default=Path(__file__).with_name("report.md"))
    parser.add_argument("checks", nargs="*", help="parts (first, entrances, narrow) or names of checks; default: all")
    chosen = parser.parse_args()
    failures = 0
    for part, listed in PARTS.items():
        start, *others = listed
        wanted = [check for check in others if not chosen.checks or {part, check.__name__} & {*chosen.checks}]
        if not wanted:
            continue
        run(*CLEAR, folder=Path("/"), check=False)
        begun, rows = time.monotonic(), []
        shop = Stack(CACHE / "shop" / "durable-commerce")
        try:
            for check in (start, *wanted):
                rows.append(_tried(check, shop))
                (CACHE / f"report-{part}.md").write_text(_section(part, shop.commit, rows, time.monotonic() - begun))
                chosen.report.write_text(_report())
                if check is start and rows[-1][1] != "yes":
                    break
        finally:
            if not chosen.keep:
                shop.down()
        failures += sum(result != "yes" for _, result, _, _ in rows)
    return failures


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


def _section(part: str, commit: str, rows: list[tuple[str, str, float, str]], took: float) -> str:
    engine = run("docker", "version", "--format", "{{.Server.Version}}").strip()
    compose = run("docker", "compose", "version", "--short").strip()
    day = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    machine = f"{os.cpu_count()} cores of {platform.machine()}, shared with other work (load {os.getloadavg()[1]:.0f})"
    lines = [
        f"## {TITLES[part]}",
        "",
        f"{day}, commit {commit}, engine {engine}, compose {compose}, {machine}, {took / 60:.0f} minutes.",
        "",
        "| check | as promised? | seconds | seen |",
        "| --- | --- | --- | --- |",
        *(
            f"| {what} | {result} | {seconds:.0f} | {' '.join(seen.split()).replace('|', '/')[:600]} |"
            for what, result, seconds, seen in rows
        ),
    ]
    return "\n".join(lines)


def _report() -> str:
    """Return the last results of each part, which may be of different runs."""
    files = [CACHE / f"report-{part}.md" for part in PARTS]
    sections = [file.read_text() for file in files if file.exists()]
    return "\n\n".join(
        [
            "# The last rehearsal",
            "`make rehearsal` writes this page. Times are those of a machine that did other work meanwhile.",
            *sections,
            LEFT_OUT.read_text(),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
