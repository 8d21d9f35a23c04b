"""One-line errors of calls to Temporal."""

from datetime import timedelta

import pytest
from temporalio.service import RPCError, RPCStatusCode

from commerce.errors import Unreachable
from starter import client
from starter.connection.rpc import unreachable_if_refused
from tests.keys import ENCRYPTION_ENV
from tests.refusing_temporal import silent_temporal


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (RPCStatusCode.PERMISSION_DENIED, " (check the permissions of TEMPORAL_API_KEY)"),
        (RPCStatusCode.UNAUTHENTICATED, " (check the permissions of TEMPORAL_API_KEY)"),
        (RPCStatusCode.UNAVAILABLE, ""),
    ],
)
def test_a_refusal_for_lack_of_permission_names_the_key(status: RPCStatusCode, advice: str) -> None:
    with pytest.raises(Unreachable) as raised, unreachable_if_refused("start hello-world"):
        raise RPCError("Request unauthorized.", status, b"")
    assert str(raised.value) == f"Temporal could not start hello-world: Request unauthorized{advice}."


async def test_a_start_that_temporal_never_answers_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "START_TIMEOUT", timedelta(milliseconds=200))
    async with silent_temporal() as address:
        connected = await client.connect({"TEMPORAL_ADDRESS": address, **ENCRYPTION_ENV})
        with pytest.raises(Unreachable, match="Temporal could not start order-processing: Timeout expired"):
            await client.start_order(connected, "1001")
