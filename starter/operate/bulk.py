"""Act on many processes at once, so that one that cannot be changed does not stop the others."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from commerce.errors import PermanentError, TransientError
from commerce.messages.runs import Run

CONCURRENT_ACTIONS = 10


async def act_on_all(
    runs: Sequence[Run], act: Callable[[str], Awaitable[str]], progress: Callable[[int], None] = lambda _: None
) -> Mapping[str, str | PermanentError]:
    """Call `act` with the id of each process; return by id what it returned, or why it refused.

    Calls `progress` with the number of those done. Raises Unreachable and DatabaseUnavailable, after the actions that
    are under way.
    """
    free = asyncio.Semaphore(CONCURRENT_ACTIONS)
    outcomes: dict[str, str | PermanentError] = {}
    interruptions: list[TransientError] = []

    async def act_on(process_id: str) -> None:
        async with free:
            if interruptions:
                return
            try:
                outcomes[process_id] = await act(process_id)
            except PermanentError as refusal:
                outcomes[process_id] = refusal
            except TransientError as error:
                interruptions.append(error)
            progress(len(outcomes))

    await asyncio.gather(*(act_on(run.transaction_id) for run in runs))
    if interruptions:
        raise interruptions[0]
    return {run.transaction_id: outcomes[run.transaction_id] for run in runs}
