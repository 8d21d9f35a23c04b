"""The data folder of an embedded stack: who holds it, and what the stack says of itself in `stack.json`."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from commerce.settings import STACK_FILE

FAILED, USAGE, UNREACHABLE = 1, 2, 3
LOCK_FILE = "up.lock"


class StackError(Exception):
    """The embedded stack cannot run; the message is one line, `code` the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def make(data_dir: Path) -> None:
    """Make the folder, for its owner alone, with the folders of logs and mails; raises StackError."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("logs", "mail"):
            (data_dir / name).mkdir(exist_ok=True)
    except OSError as error:
        raise StackError(f"The data folder {data_dir} cannot be used: {error.strerror}") from error


@contextmanager
def held(data_dir: Path) -> Iterator[None]:
    """Hold the folder alone; raises StackError that names the process that holds it already."""
    try:
        file = (data_dir / LOCK_FILE).open("a+")
    except OSError as error:
        raise StackError(f"The data folder {data_dir} cannot be used: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StackError(f"A stack runs already in {data_dir} (process {file.read() or 'unknown'})") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)


def write_stack(data_dir: Path, description: dict[str, Any]) -> None:
    """Write `stack.json` whole or not at all; it holds passwords, so its owner alone may read it."""
    write_json(data_dir / STACK_FILE, description)


def remove_stack(data_dir: Path) -> None:
    """Take `stack.json` away: no stack is ready here."""
    (data_dir / STACK_FILE).unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Replace a file by this content at once, readable by its owner alone."""
    write_private(path, json.dumps(content, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file by this text at once, readable by its owner alone."""
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return what we wrote earlier; empty when there is nothing, or nothing whole."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
