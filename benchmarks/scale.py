"""Measure how the shop grows: `python -m benchmarks.scale PART [--rounds N] [--size N]`.

PART is one of these:
  servers    Temporal's dev server next to its real server with PostgreSQL, with several numbers of history shards
  processes  `commerce worker --processes` 1, 2 and 4
  lines      orders of 1,112 lines next to orders of ten
  pending    orders that the job process-pending-orders starts, next to orders that are started directly

What is compared runs on this machine at the same time and takes turns, one round after the other. The table has medians
over the rounds. CPU time depends less on what else the machine does than orders per second do. Orders are processed by
the real worker, with label and mail. Progress goes to standard error, the table to standard output.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.scaling.orders import lines, pending
from benchmarks.scaling.real_server import Installation
from benchmarks.scaling.servers import servers
from benchmarks.scaling.workers import processes
from starter.devstack.signals import cancel_on_signals
from starter.telemetry.exit import exit_process

CACHE = Path(os.environ.get("REHEARSAL_CACHE") or Path.home() / ".cache/durable-commerce-rehearsal")


class Part(NamedTuple):
    """A part, its defaults, and the minutes that it takes at most; those of a slow machine."""

    run: Callable[[argparse.Namespace], Awaitable[str]]
    rounds: int
    size: int
    minutes: int
    meaning: str  # of the size


PARTS = {
    "servers": Part(servers, 3, 100, 40, "orders per round at 20 in flight; twice as many at 100"),
    "processes": Part(processes, 5, 200, 25, "orders per round"),
    "lines": Part(lines, 5, 8, 25, "orders per round"),
    "pending": Part(pending, 3, 2_000, 60, "orders per round"),
}


def parse() -> argparse.Namespace:
    described = "\n".join(
        f"  {name:10} {part.rounds} rounds, size {part.size:,} ({part.meaning}), at most {part.minutes} minutes"
        for name, part in PARTS.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description=__doc__,
        epilog=f"defaults:\n{described}\n\nA part that is not done by then fails.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--rounds", type=positive)
    parser.add_argument("--size", type=positive)
    parser.add_argument("--shards", type=positive, nargs="+", default=[4, 64, 512], help="servers: of the real servers")
    parser.add_argument("--programs", type=Path, default=CACHE / "bin", help="servers: folder of temporal-server")
    parser.add_argument("--debian", type=Path, default=CACHE / "roots/forky/usr", help="servers: with postgresql-18")
    options = parser.parse_args()
    part = PARTS[options.part]
    options.rounds, options.size = options.rounds or part.rounds, options.size or part.size
    options.installed = Installation(options.programs.resolve(), options.debian.resolve())
    if options.part == "servers" and (missing := options.installed.missing()):
        sys.exit(missing)
    return options


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


async def main(options: argparse.Namespace) -> int:
    """Print the table of a part and return the exit code. Whatever ends it, its servers are stopped."""
    minutes = PARTS[options.part].minutes
    with cancel_on_signals() as interrupt:
        try:
            async with asyncio.timeout(minutes * 60) as limit:
                print(await PARTS[options.part].run(options), flush=True)
        except TimeoutError:
            if not limit.expired():
                raise
            print(f"{options.part} was not done after {minutes} minutes: try a smaller --size", file=sys.stderr)
            return 1
        except asyncio.CancelledError:
            if not interrupt.happened:
                raise
            return 130
    return 0


if __name__ == "__main__":
    exit_process(asyncio.run(main(parse())))
