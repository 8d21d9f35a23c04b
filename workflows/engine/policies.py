"""Policies: the few ways to call a step, each with its timeouts and retries."""

from dataclasses import dataclass, replace
from datetime import timedelta

from temporalio.common import RetryPolicy


@dataclass(frozen=True)
class Policy:
    """How long and how often a step is tried.

    `attempt` limits one try and `deadline` all of them together (None: no limit). `tries` limits the failed tries that
    count (None: no limit); an error of the infrastructure does not count, see TransientError. A try that sends no
    heartbeat for `silence` counts as lost; see activities/boundary/heartbeat.py. The first `local_tries` run in the
    worker that decides about the process, each for `local_attempt` at most, which saves most of what a step costs; see
    workflows/engine/calls.py. Runs that were started before the version with the patch `local_since` have none.
    """

    attempt: timedelta
    deadline: timedelta | None
    retry: RetryPolicy
    tries: int | None = None
    silence: timedelta | None = None
    local_tries: int = 0
    local_attempt: timedelta = timedelta(seconds=3)
    local_since: str = "local-steps"


ONCE = RetryPolicy(maximum_attempts=1)

# A step that is one database transaction. A database or worker that is down overnight must not undo an order. Its two
# local tries together are shorter than a workflow task (10 s), which waits for them.
DATABASE_STEP = Policy(
    attempt=timedelta(seconds=15),
    deadline=timedelta(hours=24),
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30)),
    local_tries=2,
)
# A database step that is never tried locally. After a lost worker, local steps run again in their order, so a read-only
# step that could be confused by what later steps have written must not be local.
REGULAR_STEP = replace(DATABASE_STEP, local_tries=0)
# A step that calls an external service. One try makes a few calls of at most 10 s and holds a lease of 25 s
# (activities/fulfillment.py). 120 tries take an hour, which limits how long stock stays reserved for an item that the
# service cannot handle. An outage of the service is waited for as long as one of the database.
OUTSIDE_STEP = Policy(
    attempt=timedelta(seconds=30),
    deadline=DATABASE_STEP.deadline,
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=30)),
    tries=120,
)
# The final step has no deadline: it is retried until it succeeds or is refused permanently. History has it before it
# runs, and from then on a cancel is ignored.
FINAL_STEP = replace(REGULAR_STEP, deadline=None)
# A final step that is first tried locally. A worker that is lost after it leaves a run whose history does not know that
# it is done. So the process must be able to go on when the saga learns that from the ledger (`Saga.is_done`).
LOCAL_FINAL_STEP = replace(FINAL_STEP, local_tries=2, local_since="local-final-steps")
# A wait is opened by a regular activity as well: history must have it, or nobody would close it.
OPEN_WAIT = replace(FINAL_STEP, deadline=DATABASE_STEP.deadline)
# Six tries within a minute (V8): after 0, 1, 3, 7, 15 and 31 s if the mail server answers at once. Only its answers
# about this mail count. No deadline, because time without a worker, database or mail server would count too.
REGULAR_MAIL = Policy(
    attempt=timedelta(seconds=15),
    deadline=None,
    retry=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=5)),
    tries=6,
)
# A mail at the end of a process is first tried locally: there is nothing left to decide that it could hold up. The try
# may take as long as a regular one, because mail servers that think for long often accept the mail in the end.
MAIL = replace(REGULAR_MAIL, local_tries=1, local_attempt=REGULAR_MAIL.attempt, local_since="local-mails")
# A batch of a job. Temporal tries it once, because the job itself counts errors; `silence` detects a lost worker.
BATCH = Policy(
    attempt=timedelta(seconds=60),
    deadline=None,
    retry=ONCE,
    silence=timedelta(seconds=15),
)
LONG_BATCH = replace(BATCH, attempt=timedelta(minutes=3))
# An alert to the admins: six tries within half a minute. Every try counts, because the run that raises the alert should
# end. `fail-notification` then waits for the database and tries once more; after that, workers send it later (N1).
ALERT = Policy(
    attempt=timedelta(seconds=15),
    deadline=None,
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_attempts=6),
)
# An undo is worth hours of patience: 60 tries that count, 200 ms to 5 minutes apart (E6). It waits for the database and
# for a service that is down as long as it takes.
UNDO = Policy(
    attempt=timedelta(seconds=30),
    deadline=None,
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(minutes=5)),
    tries=60,
)
