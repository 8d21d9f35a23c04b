"""The order in which tests are handed out, one by one, to the workers of a run."""

from collections.abc import Sequence

import pytest

LONGEST_FIRST = ("timeout", "programs", "temporal", "postgres")  # markers
BETWEEN = 3  # tests that work, between two that wait


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the longest tests first, so that no worker starts one when the others are done.

    Those that wait most of their time are spread among them, so that the others keep the machine busy meanwhile.
    """
    waiting = [item for item in items if item.get_closest_marker("waits")]
    ordered = sorted(
        (item for item in items if not item.get_closest_marker("waits")),
        key=lambda item: [item.get_closest_marker(marker) is None for marker in LONGEST_FIRST],
    )
    for number, item in enumerate(waiting):
        ordered.insert(number * (BETWEEN + 1), item)
    return ordered
