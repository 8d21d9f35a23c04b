"""Policies: when tries follow each other. Tests with a worker shorten the pauses between them."""

from datetime import timedelta

import pytest

from workflows.engine.policies import ALERT, MAIL, UNDO, Policy


def seconds_of_tries(policy: Policy) -> list[float]:
    """Return when each try starts, in seconds from the first, if every try fails at once."""
    retry = policy.retry
    starts, pause = [timedelta(0)], retry.initial_interval
    for _ in range((policy.tries or retry.maximum_attempts) - 1):
        starts.append(starts[-1] + pause)
        pause *= retry.backoff_coefficient
        if retry.maximum_interval is not None:
            pause = min(pause, retry.maximum_interval)
    return [start.total_seconds() for start in starts]


def test_a_mail_is_tried_six_times_within_a_minute() -> None:  # (V8)
    assert seconds_of_tries(MAIL) == [0, 1, 3, 7, 15, 31]


def test_an_alert_is_tried_six_times_within_half_a_minute() -> None:
    assert seconds_of_tries(ALERT) == [0, 0.5, 1.5, 3.5, 7.5, 15.5]


def test_an_undo_is_tried_60_times_over_hours() -> None:  # (E6)
    tries = seconds_of_tries(UNDO)
    assert len(tries) == 60
    assert tries[-1] == pytest.approx(timedelta(hours=4).total_seconds(), rel=0.1)
