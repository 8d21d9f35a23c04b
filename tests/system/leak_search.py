"""Search the data that Temporal stores, and logs, for words in every spelling and encoding that may occur."""

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
PAGE_SIZE = 1_000  # enough for all runs, all events of a run and all schedules
Leaks = set[tuple[str, str]]  # places and kinds of words found there


def find_words(words: Words, places: Mapping[str, bytes]) -> Leaks:
    """Return the places where words occur and the kinds of these words. Upper and lower case are the same."""
    encoded_words = {
        kind: {encoded for word in words_of_kind for encoded in encodings(word)}
        for kind, words_of_kind in words.items()
    }
    return {
        (place, kind)
        for place, content in places.items()
        for lowered in [content.lower()]
        for kind, words_of_kind in encoded_words.items()
        if any(encoded in lowered for encoded in words_of_kind)
    }


def describe(leaks: Leaks) -> str:
    """Return one line per leak, with the place and the kind of word but not the word."""
    return "\n".join(f"{place}: {kind}" for place, kind in sorted(leaks))


def encodings(word: str) -> Iterator[bytes]:
    """Return a word as plain text, URL-quoted, as hex and decimal numbers, and in base64; all in lower case."""
    for text in {word, word.lower()}:
        data = text.encode()
        yield data.lower()
        yield quote(text).lower().encode()
        yield data.hex().encode()
        yield ", ".join(map(str, data)).encode()
        yield from (encoded.lower() for encoded in base64_parts(data))


def base64_parts(data: bytes) -> Iterator[bytes]:
    """Return, for each of the three alignments, the part of the base64 text that depends on these bytes alone."""
    for before in range(3):
        encoded = b64encode(bytes(before) + data)
        yield encoded[-(-8 * before // 6) : 8 * (before + len(data)) // 6]


async def dump_temporal(client: Client) -> dict[str, bytes]:
    """Return the descriptions and histories of all runs and schedules as raw bytes, without our codec."""
    temporal, namespace = client.workflow_service, client.namespace
    listed = await temporal.list_workflow_executions(
        ListWorkflowExecutionsRequest(namespace=namespace, page_size=PAGE_SIZE)
    )
    assert not listed.next_page_token
    dump = {"list of runs": listed.SerializeToString()}
    for run in (each.execution for each in listed.executions):
        dump[f"state of {run.workflow_id} {run.run_id}"] = (
            await temporal.describe_workflow_execution(
                DescribeWorkflowExecutionRequest(namespace=namespace, execution=run)
            )
        ).SerializeToString()
        dump[f"history of {run.workflow_id} {run.run_id}"] = await _history(client, run)
    return dump | await _schedules(client)


async def _history(client: Client, run: WorkflowExecution) -> bytes:
    request = GetWorkflowExecutionHistoryRequest(namespace=client.namespace, execution=run, maximum_page_size=PAGE_SIZE)
    response = await client.workflow_service.get_workflow_execution_history(request)
    assert not response.next_page_token
    return response.SerializeToString()


async def _schedules(client: Client) -> dict[str, bytes]:
    temporal, namespace = client.workflow_service, client.namespace
    listed = await temporal.list_schedules(ListSchedulesRequest(namespace=namespace, maximum_page_size=PAGE_SIZE))
    dump = {"list of schedules": listed.SerializeToString()}
    for schedule in listed.schedules:
        request = DescribeScheduleRequest(namespace=namespace, schedule_id=schedule.schedule_id)
        dump[f"schedule {schedule.schedule_id}"] = (await temporal.describe_schedule(request)).SerializeToString()
    return dump


def read_files(folder: Path, *patterns: str) -> dict[str, bytes]:
    """Return the contents of the files in a folder that match these patterns, by relative path."""
    paths = [path for pattern in patterns for path in folder.glob(pattern)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
