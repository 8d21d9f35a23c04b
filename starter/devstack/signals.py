"""Signals that stop a stack: they cancel the running task, which then stops its servers in order."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Interrupt:
    """Whether a signal has arrived."""

    happened: bool = False


@contextmanager
def cancel_on_signals() -> Iterator[Interrupt]:
    """Let SIGINT, SIGTERM and SIGHUP cancel the current task. A second signal interrupts the stopping too."""
    task, loop, interrupt = asyncio.current_task(), asyncio.get_running_loop(), Interrupt()
    if task is None:
        raise RuntimeError("cancel_on_signals() must be called within a task")

    def cancel() -> None:
        interrupt.happened = True
        task.cancel()

    # Under nohup the program must outlive the terminal.
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    numbers = [signal.SIGINT, signal.SIGTERM, *hangup]
    for number in numbers:
        loop.add_signal_handler(number, cancel)
    try:
        yield interrupt
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
