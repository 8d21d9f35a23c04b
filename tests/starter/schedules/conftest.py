"""Jobs applied to a real Temporal server, and their schedules."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client, ScheduleDescription

from commerce.messages.schedules import ApplyResult, JobSchedule
from commerce.settings import Settings
from starter.schedules.apply import apply_jobs
from starter.schedules.queries import list_schedules
from starter.schedules.table import ScheduledJob, scheduled_jobs
from tests.keys import codec
from tests.polling import until
from tests.starter.sample_jobs import NIGHTLY, WAITING, delete_schedules

FOREIGN = "foreign"
OUR_JOBS = {job.id: job for job in scheduled_jobs(Settings())}


@pytest.fixture
async def client(client: Client) -> AsyncIterator[Client]:
    """A client of a server without schedules."""
    yield client
    await delete_schedules(client, NIGHTLY.id, WAITING.id, FOREIGN, *OUR_JOBS)


async def apply(client: Client, *wanted: ScheduledJob, paused: bool = False, force: bool = False) -> ApplyResult:
    return await apply_jobs(client, wanted, key_id=codec().key_ids[0], paused=paused, force=force)


async def description(client: Client, job: ScheduledJob) -> ScheduleDescription:
    return await client.get_schedule_handle(job.id).describe()


async def get_listed(client: Client, job: ScheduledJob) -> JobSchedule:
    """Return a schedule as `list_schedules` shows it, once it does."""

    async def find() -> JobSchedule | None:
        return next((found for found in await list_schedules(client) if found.id == job.id), None)

    return await until(find)


async def wait_for_runs(client: Client, job: ScheduledJob, runs: int) -> list[str]:
    """Wait until a schedule has started `runs` runs and all have ended; return the last ten process ids."""

    async def ended() -> list[str] | None:
        info = (await description(client, job)).raw_description.info
        all_ended = info.action_count >= runs and not info.running_workflows and not info.buffer_size
        return [run.start_workflow_result.workflow_id for run in info.recent_actions] if all_ended else None

    return await until(ended)
