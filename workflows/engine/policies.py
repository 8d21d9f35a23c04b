"""The few ways a step may be called: how long it may take, how often and how long it is tried."""

from dataclasses import dataclass, replace
from datetime import timedelta

from temporalio.common import RetryPolicy


@dataclass(frozen=True)
class Policy:
    """`attempt` bounds one try, `deadline` all of them; without a deadline it is tried until it works.

    `silence`: how long a try may say nothing before it is taken for lost; see activities/boundary/heartbeat.py.
    """

    attempt: timedelta
    deadline: timedelta | None
    retry: RetryPolicy
    silence: timedelta | None = None


DATABASE_STEP = Policy(
    attempt=timedelta(seconds=15),
    deadline=timedelta(hours=24),  # a database or a worker that is away for a night undoes no order
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30)),
)
# One attempt makes a few calls of 10 s at most and holds a lease of 25 s, see activities/fulfillment.py.
OUTSIDE_STEP = Policy(
    attempt=timedelta(seconds=30),
    deadline=timedelta(hours=1),  # so long may stock be held for a carrier that does not answer
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=30)),
)
# The final step has no deadline: it happens, or is refused for good.
FINAL_STEP = Policy(attempt=timedelta(seconds=15), deadline=None, retry=DATABASE_STEP.retry)
# Six tries within a minute (V8): after 0, 1, 3, 7, 15 and 31 s when the mail server answers at once.
MAIL = Policy(
    attempt=timedelta(seconds=15),
    deadline=None,  # it would count the time without a worker too, and end before the six tries
    retry=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=6),
)
# A batch of a job: one try, for the job itself counts its errors; a lost worker is noticed after `silence`.
BATCH = Policy(
    attempt=timedelta(seconds=60),
    deadline=None,
    retry=RetryPolicy(maximum_attempts=1),
    silence=timedelta(seconds=15),
)
LONG_BATCH = replace(BATCH, attempt=timedelta(minutes=3))
# Admins' alerts: six tries within half a minute; what is not delivered then is marked failed.
ALERT = Policy(
    attempt=timedelta(seconds=15),
    deadline=None,
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_attempts=6),
)
# Undoing is worth the patience of hours: 60 tries, from 200 ms to 5 minutes apart.
UNDO = Policy(
    attempt=timedelta(seconds=30),
    deadline=None,
    retry=RetryPolicy(
        initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(minutes=5), maximum_attempts=60
    ),
)
