"""The order in which tests are handed out, one by one, to the workers of a run."""

from collections.abc import Sequence

import pytest

# Roughly how many seconds a test with this marker takes, the first that applies.
SECONDS = {"timeout": 20, "programs": 2, "temporal": 0.8, "postgres": 0.5}
LITTLE = 0.1
WAIT = 10  # seconds that a test marked `waits` waits, unless the marker states another number
BEFORE_THE_END = 0.9  # of the time of the others, all tests that wait have started


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the longest tests first, so that no worker starts one when the others are done.

    Those that wait most of their time are spread among them, the longer a wait the later the next one, so that few wait
    at once and the others keep the machine busy meanwhile.
    """
    waits = {item: _wait(item) for item in items if item.get_closest_marker("waits")}
    waiting = sorted(waits, key=waits.__getitem__, reverse=True)
    seconds = {item: _seconds(item) for item in items if item not in waits}
    apart = sum(seconds.values()) * BEFORE_THE_END / max(1, sum(waits.values()))  # for each second of a wait
    ordered, until_next = [], 0.0
    for item in sorted(seconds, key=seconds.__getitem__, reverse=True):
        while waiting and until_next <= 0:
            ordered.append(waiting.pop(0))
            until_next += waits[ordered[-1]] * apart
        ordered.append(item)
        until_next -= seconds[item]
    return ordered + waiting


def _wait(item: pytest.Item) -> float:
    marker = item.get_closest_marker("waits")
    return marker.args[0] if marker and marker.args else WAIT


def _seconds(item: pytest.Item) -> float:
    return next((seconds for marker, seconds in SECONDS.items() if item.get_closest_marker(marker)), LITTLE)
