"""Signals that end a stack: they cancel what runs, which then stops its children in order."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Interrupt:
    """Whether a signal came."""

    happened: bool = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Let SIGINT, SIGTERM and SIGHUP cancel the current task, each time anew: a second one cuts a stop short."""
    task, loop, interrupt = asyncio.current_task(), asyncio.get_running_loop(), Interrupt()
    if task is None:
        raise RuntimeError("interruptible() needs a task that can be cancelled")

    def cancel() -> None:
        interrupt.happened = True
        task.cancel()

    # Who starts us with nohup wants us to outlive the terminal.
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    numbers = [signal.SIGINT, signal.SIGTERM, *hangup]
    for number in numbers:
        loop.add_signal_handler(number, cancel)
    try:
        yield interrupt
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
