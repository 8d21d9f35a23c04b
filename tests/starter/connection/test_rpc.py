"""One-line errors of calls to Temporal."""

import pytest
from temporalio.service import RPCError, RPCStatusCode

from commerce.errors import Unreachable
from starter.connection.rpc import unreachable_if_refused


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
