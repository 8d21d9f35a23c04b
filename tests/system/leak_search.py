"""Looks for words in what Temporal keeps and in logs, in every form in which they may be written."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeScheduleRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListSchedulesRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client

Words = Mapping[str, Sequence[str]]  # by kind
MANY = 1_000  # runs, events of a run, schedules: all at once
Found = set[tuple[str, str]]  # place and kind


def found(words: Words, places: Mapping[str, bytes]) -> Found:
    """Return which kinds of words stand where, however they are written: capital letters are small letters."""
    looked_for = {kind: {form for word in some for form in forms(word)} for kind, some in words.items()}
    return {
        (place, kind)
        for place, content in places.items()
        for small in [content.lower()]
        for kind, some in looked_for.items()
        if any(form in small for form in some)
    }


def told(leaks: Found) -> str:
    """Return where what kind of word was found, and no word."""
    return "\n".join(f"{place}: {kind}" for place, kind in sorted(leaks))


def forms(word: str) -> Iterator[bytes]:
    """Return what a word looks like in clear, in URLs, as numbers, and within base64; all in small letters."""
    for text in {word, word.lower()}:
        data = text.encode()
        yield data.lower()
        yield quote(text).lower().encode()
        yield data.hex().encode()
        yield ", ".join(map(str, data)).encode()
        yield from (encoded.lower() for encoded in in_base64(data))


def in_base64(data: bytes) -> Iterator[bytes]:
    """Return what is the same of these bytes within base64 whatever stands around them, at each alignment."""
    for before in range(3):
        encoded = b64encode(bytes(before) + data)
        yield encoded[-(-8 * before // 6) : 8 * (before + len(data)) // 6]


async def kept_by_temporal(client: Client) -> dict[str, bytes]:
    """Return what Temporal tells of every run and schedule, as it comes over the wire, without our codec."""
    temporal, namespace = client.workflow_service, client.namespace
    listed = await temporal.list_workflow_executions(ListWorkflowExecutionsRequest(namespace=namespace, page_size=MANY))
    assert not listed.next_page_token
    kept = {"list of runs": listed.SerializeToString()}
    for run in (each.execution for each in listed.executions):
        kept[f"state of {run.workflow_id} {run.run_id}"] = (
            await temporal.describe_workflow_execution(
                DescribeWorkflowExecutionRequest(namespace=namespace, execution=run)
            )
        ).SerializeToString()
        kept[f"history of {run.workflow_id} {run.run_id}"] = await _history(client, run)
    return kept | await _schedules(client)


async def _history(client: Client, run: WorkflowExecution) -> bytes:
    request = GetWorkflowExecutionHistoryRequest(namespace=client.namespace, execution=run, maximum_page_size=MANY)
    answer = await client.workflow_service.get_workflow_execution_history(request)
    assert not answer.next_page_token
    return answer.SerializeToString()


async def _schedules(client: Client) -> dict[str, bytes]:
    temporal, namespace = client.workflow_service, client.namespace
    listed = await temporal.list_schedules(ListSchedulesRequest(namespace=namespace, maximum_page_size=MANY))
    kept = {"list of schedules": listed.SerializeToString()}
    for schedule in listed.schedules:
        request = DescribeScheduleRequest(namespace=namespace, schedule_id=schedule.schedule_id)
        kept[f"schedule {schedule.schedule_id}"] = (await temporal.describe_schedule(request)).SerializeToString()
    return kept


def files(folder: Path, *patterns: str) -> dict[str, bytes]:
    """Return the contents of the files of a folder that fit these patterns, by their paths within it."""
    paths = [path for pattern in patterns for path in folder.glob(pattern)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
