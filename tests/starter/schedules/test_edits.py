"""What people change in schedules outside the settings: with Temporal's command line, its UI or another client."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    ScheduleRange,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from commerce.cron import parse_cron
from commerce.errors import MissingKey
from commerce.messages.schedules import ApplyResult
from starter.client import connect
from starter.schedules.apply import apply_jobs
from starter.schedules.queries import list_schedules
from starter.schedules.table import ScheduledJob
from tests.keys import OTHER_KEY, encryption_env
from tests.starter.sample_jobs import NIGHTLY, WAITING
from tests.starter.schedules.conftest import OUR_JOBS, apply, description, get_listed

TEMPORAL = Path(sys.executable).parent / "temporal"
Edit = Callable[[Schedule], object]
HOURLY = ScheduleCalendarSpec(minute=[ScheduleRange(0)], hour=[ScheduleRange(0, 23)])


async def edit(client: Client, schedule_id: str, change: Edit) -> None:
    """Change a schedule as other clients do: the parts that they do not know stay."""

    def rewrite(found: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = found.description.schedule
        change(schedule)
        return ScheduleUpdate(schedule)

    await client.get_schedule_handle(schedule_id).update(rewrite)


async def temporal(client: Client, *arguments: str) -> None:
    """Run Temporal's command line."""
    address = client.service_client.config.target_host
    process = await asyncio.create_subprocess_exec(
        TEMPORAL, *arguments, "--address", address, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output


def action(schedule: Schedule) -> ScheduleActionStartWorkflow:
    assert isinstance(schedule.action, ScheduleActionStartWorkflow)
    return schedule.action


def change(part: str, **values: object) -> Edit:
    """Return an edit that sets attributes of a part of the schedule."""

    def set_values(schedule: Schedule) -> None:
        for name, value in values.items():
            setattr(getattr(schedule, part), name, value)

    return set_values


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (
            lambda schedule: schedule.spec.calendars.append(HOURLY),
            "times: 0 1 * * * and 0 * * * * instead of 0 1 * * *",
        ),
        (change("spec", calendars=[]), "times: none instead of 0 1 * * *"),
        (
            change("spec", calendars=[], intervals=[ScheduleIntervalSpec(timedelta(hours=2), timedelta(minutes=5))]),
            "times: every 2:00:00, 0:05:00 later instead of 0 1 * * *",
        ),
        (
            change("spec", skip=[replace(HOURLY, year=[ScheduleRange(2027)])]),
            "excluded times: 0 * * * * in 2027 instead of none",
        ),
        (change("spec", time_zone_name="Europe/London"), "time zone: Europe/London instead of UTC"),
        (change("spec", jitter=timedelta(minutes=3)), "jitter: 0:03:00 instead of none"),
        (change("spec", end_at=datetime(2030, 1, 1, tzinfo=UTC)), "end: 2030-01-01 00:00:00+00:00 instead of none"),
        (change("policy", overlap=ScheduleOverlapPolicy.ALLOW_ALL), "overlap policy: allow all instead of skip"),
        (change("policy", catchup_window=timedelta(minutes=1)), "catch-up window: 0:01:00 instead of 1:00:00"),
        (change("policy", pause_on_failure=True), "pause after a failure: yes instead of no"),
        (change("state", limited_actions=True, remaining_actions=3), "number of runs: 3 more instead of unlimited"),
        (change("action", workflow="sample-waiting"), "workflow type: sample-waiting instead of sample-nightly"),
        (change("action", task_queue="elsewhere"), "task queue: elsewhere instead of sample-jobs"),
        (change("action", args=[{"page": 3}]), 'input: {"page": 3} instead of {}'),
        (change("action", args=[]), "input: none instead of {}"),
        (change("action", run_timeout=timedelta(minutes=1)), "run timeout: 0:01:00 instead of none"),
        (change("action", static_summary=None), "summary: none instead of Counts sheep"),
    ],
)
async def test_an_edit_is_described_left_alone_and_restored_on_request(
    client: Client, made: Edit, sentence: str
) -> None:
    await apply(client, NIGHTLY)
    before = (await description(client, NIGHTLY)).raw_description.schedule
    await edit(client, NIGHTLY.id, made)
    edited = (await description(client, NIGHTLY)).raw_description.schedule
    for _ in range(2):
        assert await apply(client, NIGHTLY) == edited_result(sentence)
        assert (await get_listed(client, NIGHTLY)).edited == [sentence]
    assert (await description(client, NIGHTLY)).raw_description.schedule == edited
    assert (await apply(client, NIGHTLY, force=True)).updated == [NIGHTLY.id]
    assert (await apply(client, NIGHTLY)).unchanged == [NIGHTLY.id]
    restored = (await description(client, NIGHTLY)).raw_description.schedule
    assert (restored.spec, restored.policies, restored.state) == (before.spec, before.policies, before.state)
    listed = await get_listed(client, NIGHTLY)
    assert (listed.edited, listed.cron) == ([], NIGHTLY.cron)


def edited_result(*sentences: str) -> ApplyResult:
    return ApplyResult(created=[], updated=[], unchanged=[], edited={NIGHTLY.id: list(sentences)}, orphans=[])


async def test_several_edits_are_listed_and_the_times_are_not_taken_for_those_of_the_settings(client: Client) -> None:
    await apply(client, NIGHTLY)
    await edit(client, NIGHTLY.id, change("policy", overlap=ScheduleOverlapPolicy.BUFFER_ONE))
    assert (await get_listed(client, NIGHTLY)).cron == NIGHTLY.cron
    await edit(client, NIGHTLY.id, lambda schedule: schedule.spec.calendars.append(HOURLY))
    listed = await get_listed(client, NIGHTLY)
    assert listed.cron == ""
    assert [sentence.split(":")[0] for sentence in listed.edited] == ["times", "overlap policy"]


async def test_a_change_of_the_settings_does_not_overwrite_an_edit(client: Client) -> None:
    await apply(client, NIGHTLY)
    await edit(client, NIGHTLY.id, change("policy", overlap=ScheduleOverlapPolicy.ALLOW_ALL))
    changed = replace(NIGHTLY, cron="30 4 * * *")
    assert await apply(client, changed) == edited_result("overlap policy: allow all instead of skip")
    assert (await apply(client, changed, force=True)).updated == [NIGHTLY.id]
    found = await description(client, NIGHTLY)
    assert found.schedule.policy.overlap == ScheduleOverlapPolicy.SKIP
    assert (await get_listed(client, NIGHTLY)).cron == changed.cron


async def test_what_clients_state_without_changing_anything_is_no_edit(client: Client) -> None:
    """Temporal's UI states the default of a timeout, and encodes an input anew when a person opens its editor."""
    await apply(client, NIGHTLY)
    await edit(client, NIGHTLY.id, change("action", task_timeout=timedelta(seconds=10), args=[{}]))
    assert (await get_listed(client, NIGHTLY)).edited == []
    assert (await apply(client, NIGHTLY)).unchanged == [NIGHTLY.id]


async def test_a_pause_in_temporal_is_no_edit(client: Client) -> None:
    await apply(client, NIGHTLY)
    await client.get_schedule_handle(NIGHTLY.id).pause(note="paused in the UI")
    assert (await get_listed(client, NIGHTLY)).edited == []
    await edit(client, NIGHTLY.id, change("policy", overlap=ScheduleOverlapPolicy.ALLOW_ALL))
    assert (await apply(client, NIGHTLY, force=True)).updated == [NIGHTLY.id]
    state = (await description(client, NIGHTLY)).schedule.state
    assert (state.paused, state.note) == (True, "paused in the UI")


async def test_a_schedule_replaced_with_temporals_command_line_is_listed_and_restored(
    client: Client, temporal_server: str
) -> None:
    """The command line drops the memo, the input, the summary and the search attributes.

    It refuses schedules that it cannot decrypt, so this one is in clear.
    """
    plain = await connect({"TEMPORAL_ADDRESS": temporal_server, "COMMERCE_ENCRYPTION": "off"})
    job = OUR_JOBS["upkeep"]

    async def apply(client: Client, job: ScheduledJob, *, force: bool = False) -> ApplyResult:
        return await apply_jobs(plain, [job], key_id=None, force=force)

    await apply(client, job)
    replaced = ["--workflow-id", job.id, "--type", job.id, "--task-queue", job.queue, "--cron", "0 5 * * *"]
    await temporal(client, "schedule", "update", "--schedule-id", job.id, *replaced)
    listed = await get_listed(client, job)
    assert listed.edited == ["replaced by hand: what was applied is no longer known"]
    assert listed.cron == ""
    applied = await apply(client, job)
    assert applied.edited[job.id][0] == "times: 0 5 * * * instead of 30 3 * * *"
    assert "input: none instead of {}" in applied.edited[job.id]
    assert (await apply(client, job, force=True)).updated == [job.id]
    assert (await get_listed(client, job)).edited == []


async def test_a_schedule_that_an_older_version_applied_is_updated(client: Client) -> None:
    await apply(client, NIGHTLY)
    await edit(client, NIGHTLY.id, change("action", memo={"commerce-fingerprint": "0123456789abcdef"}))
    assert (await get_listed(client, NIGHTLY)).edited == []
    assert (await apply(client, NIGHTLY)).updated == [NIGHTLY.id]
    assert (await apply(client, NIGHTLY)).unchanged == [NIGHTLY.id]


async def test_a_schedule_is_listed_without_its_key_and_its_input_is_not_shown(
    client: Client, temporal_server: str
) -> None:
    await apply(client, NIGHTLY)
    stranger = await connect({"TEMPORAL_ADDRESS": temporal_server, **encryption_env(OTHER_KEY)})
    await get_listed(client, NIGHTLY)
    [listed] = [found for found in await list_schedules(stranger) if found.id == NIGHTLY.id]
    assert (listed.cron, listed.edited) == (NIGHTLY.cron, [])
    with pytest.raises(MissingKey):
        await apply_jobs(stranger, [NIGHTLY], key_id=None)


def lines() -> st.SearchStrategy[str]:
    """Valid cron lines of all forms."""

    def field(low: int, high: int) -> st.SearchStrategy[str]:
        number = st.integers(low, high)
        span = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
        step = st.integers(1, high - 1)
        part = st.one_of(
            st.just("*"),
            number.map(str),
            span,
            st.builds("{}/{}".format, st.one_of(st.just("*"), span, number), step),
        )
        return st.lists(part, min_size=1, max_size=3).map(",".join)

    fields = [field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)]
    return st.tuples(*fields).map(" ".join).filter(is_valid)


def is_valid(line: str) -> bool:
    try:
        return bool(parse_cron(line))
    except ValueError:
        return False


@settings(max_examples=60)
@given(line=lines())
async def test_temporal_describes_every_cron_line_as_it_was_applied(client: Client, line: str) -> None:
    job = replace(WAITING, cron=line)
    await apply(client, job, paused=True, force=True)
    assert (await apply(client, job)).unchanged == [job.id]
