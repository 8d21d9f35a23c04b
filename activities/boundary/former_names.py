"""Activities that were renamed stay available under their former names.

The ledger stores the names of undos. A run that was interrupted before an undo was renamed asks for it by the former
name, and so does a run that was open during the deployment.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from temporalio import activity

FORMER_NAMES: Mapping[str, str] = {}  # former name of an activity -> present name; entries stay forever


def under_former_names(
    activities: Sequence[Callable[..., Any]], former_names: Mapping[str, str] = FORMER_NAMES
) -> list[Callable[..., Any]]:
    """Return the renamed ones of these activities once more, under each of their former names."""
    by_name = {getattr(method, "__temporal_activity_definition").name: method for method in activities}
    return [_renamed(by_name[present], former) for former, present in former_names.items() if present in by_name]


def _renamed(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(*arguments: Any) -> Any:
        return await method(*arguments)

    delattr(call, "__temporal_activity_definition")  # `wraps` has copied it
    return activity.defn(name=name)(call)
