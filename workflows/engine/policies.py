"""Policies: the few ways to call a step, each with its timeouts and retries."""

from dataclasses import dataclass, replace
from datetime import timedelta

from temporalio.common import RetryPolicy


@dataclass(frozen=True)
class Policy:
    """How long and how often a step is tried.

    `attempt` limits one try and `deadline` all of them together (None: no limit). A try that sends no heartbeat for
    `silence` counts as lost; see activities/boundary/heartbeat.py.
    """

    attempt: timedelta
    deadline: timedelta | None
    retry: RetryPolicy
    silence: timedelta | None = None


# A step that is one database transaction. A database or worker that is down overnight must not undo an order.
DATABASE_STEP = Policy(
    attempt=timedelta(seconds=15),
    deadline=timedelta(hours=24),
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30)),
)
# A step that calls an external service. One try makes a few calls of at most 10 s and holds a lease of 25 s
# (activities/fulfillment.py). The deadline limits how long stock stays reserved for a carrier that does not answer.
OUTSIDE_STEP = Policy(
    attempt=timedelta(seconds=30),
    deadline=timedelta(hours=1),
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=30)),
)
# The final step has no deadline: it is retried until it succeeds or is refused permanently.
FINAL_STEP = Policy(attempt=timedelta(seconds=15), deadline=None, retry=DATABASE_STEP.retry)
# Six tries within a minute (V8): after 0, 1, 3, 7, 15 and 31 s if the mail server answers at once. No deadline, because
# time without a worker would count too and could end the step before the sixth try.
MAIL = Policy(
    attempt=timedelta(seconds=15),
    deadline=None,
    retry=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=6),
)
# A batch of a job. Temporal tries it once, because the job itself counts errors; `silence` detects a lost worker.
BATCH = Policy(
    attempt=timedelta(seconds=60),
    deadline=None,
    retry=RetryPolicy(maximum_attempts=1),
    silence=timedelta(seconds=15),
)
LONG_BATCH = replace(BATCH, attempt=timedelta(minutes=3))
# An alert to the admins: six tries within half a minute, then it is marked failed.
ALERT = Policy(
    attempt=timedelta(seconds=15),
    deadline=None,
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_attempts=6),
)
# An undo is worth hours of patience: 60 tries, 200 ms to 5 minutes apart (E6).
UNDO = Policy(
    attempt=timedelta(seconds=30),
    deadline=None,
    retry=RetryPolicy(
        initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(minutes=5), maximum_attempts=60
    ),
)
