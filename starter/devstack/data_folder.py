"""The data folder of an embedded stack: its lock, its files, and the description of the running stack."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from commerce.settings import STACK_FILE
from starter.devstack.errors import StackError

LOCK_FILE = "up.lock"
PRIVATE_UMASK = 0o077  # for a program that writes into the folder
FOR_OTHERS = 0o077
WRITABLE_FOR_OTHERS = 0o022


def create(data_dir: Path) -> None:
    """Create the folder, readable only by its owner, with its subfolders. Raises StackError."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(data_dir)
        for name in ("logs", "mail"):
            (data_dir / name).mkdir(exist_ok=True)
    except OSError as error:
        raise StackError(f"The data folder {data_dir} cannot be used: {error.strerror}") from error


def _make_private(data_dir: Path) -> None:
    """Let only the owner read an existing folder of a stack, or an empty one. Raises StackError, OSError.

    A folder with other content keeps its permissions, since the stack's own files in it are private.
    """
    found = data_dir.stat()
    if found.st_uid != os.geteuid():
        raise StackError(f"The data folder {data_dir} belongs to another user: choose another with --data-dir")
    if not found.st_mode & FOR_OTHERS:
        return
    if (data_dir / LOCK_FILE).exists() or not any(data_dir.iterdir()):
        data_dir.chmod(0o700)
    elif found.st_mode & WRITABLE_FOR_OTHERS:
        raise StackError(f"Other users can write to the data folder {data_dir}: choose another with --data-dir")


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Lock the folder for this process; raises StackError naming the process that has locked it already."""
    try:
        file = (data_dir / LOCK_FILE).open("a+")
    except OSError as error:
        raise StackError(f"The data folder {data_dir} cannot be used: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StackError(
                f"A stack is already running in {data_dir} (process {file.read() or 'unknown'})"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)


def write_description(data_dir: Path, description: dict[str, Any]) -> None:
    """Write `stack.json` atomically. It holds passwords, so only its owner can read it."""
    write_json(data_dir / STACK_FILE, description)


def remove_description(data_dir: Path) -> None:
    """Delete `stack.json`: no stack is ready in this folder."""
    (data_dir / STACK_FILE).unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON to a file atomically, readable only by its owner."""
    write_private(path, json.dumps(content, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write text to a file atomically, readable only by its owner."""
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
