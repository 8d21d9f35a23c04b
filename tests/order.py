"""The order in which tests are handed out, one by one, to the workers of a run."""

from collections.abc import Sequence

import pytest

# Roughly how many seconds a test with this marker takes, the first that applies; others take nearly none.
SECONDS = {"timeout": 30, "programs": 4, "temporal": 0.8, "postgres": 0.25}
LITTLE = 0.02
BEFORE_THE_END = 0.85  # of the time of the others, all tests that wait have started


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the longest tests first, so that no worker starts one when the others are done.

    Those that wait most of their time are spread evenly among them, so that the others keep the machine busy meanwhile,
    and it is never busy with those alone.
    """
    waiting = [item for item in items if item.get_closest_marker("waits")]
    working = [item for item in items if not item.get_closest_marker("waits")]
    seconds = {item: _seconds(item) for item in working}
    working.sort(key=seconds.__getitem__, reverse=True)
    apart = sum(seconds.values()) * BEFORE_THE_END / max(1, len(waiting))
    ordered, passed = [], 0.0
    for item in working:
        while waiting and passed >= 0:
            ordered.append(waiting.pop(0))
            passed -= apart
        ordered.append(item)
        passed += seconds[item]
    return ordered + waiting


def _seconds(item: pytest.Item) -> float:
    return next((seconds for marker, seconds in SECONDS.items() if item.get_closest_marker(marker)), LITTLE)
