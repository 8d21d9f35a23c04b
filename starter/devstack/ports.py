"""Choose the ports of the embedded servers: the usual ones, else those of last time, else free ones."""

import errno
import random
import socket
from collections.abc import Callable
from pathlib import Path

from starter.devstack.data_folder import read_json, write_json
from starter.devstack.errors import StackError

LOOPBACK = "127.0.0.1"
# Below the range of ephemeral ports: otherwise the port of a server that restarts could be taken by a client that is
# just trying to connect to it.
SPARE = range(20_000, 32_000)
TRIES = 100


class Ports:
    """The ports of one data folder, stored in a file so that unusual addresses stay the same."""

    def __init__(self, file: Path, echo: Callable[[str], None]) -> None:
        """`file` stores the ports; `echo` prints when a port is not the usual one."""
        self._file, self._echo = file, echo
        self._last: dict[str, dict[str, int]] = read_json(file)
        self._now: dict[str, dict[str, int]] = {}

    def choose(self, name: str, label: str, wanted: int) -> int:
        """Return a free port for this server, the wanted one if possible (0: any). Raises StackError."""
        port = wanted if self._is_free(wanted) else self._remembered(name, wanted) or self._spare()
        if wanted not in (0, port):
            why = "is in use" if may_listen(wanted) else "needs more privileges"
            self._echo(f"Port {wanted} {why}; {label} listens on {port}")
        self._now[name] = {"wanted": wanted, "port": port}
        write_json(self._file, self._last | self._now)
        return port

    def _remembered(self, name: str, wanted: int) -> int | None:
        last = self._last.get(name, {})
        port = last.get("port", 0)
        return port if last.get("wanted") == wanted and self._is_free(port) else None

    def _spare(self) -> int:
        for port in random.sample(SPARE, TRIES):
            if self._is_free(port):
                return port
        raise StackError(f"No free port between {SPARE.start} and {SPARE.stop}")

    def _is_free(self, port: int) -> bool:
        return port != 0 and port not in {entry["port"] for entry in self._now.values()} and can_listen(port)


def can_listen(port: int) -> bool:
    """Return whether a server could listen on this port of the loopback interface."""
    return _refusal(port) is None


def may_listen(port: int) -> bool:
    """Return whether this user is allowed to listen on this port, whether it is in use or not."""
    return _refusal(port) != errno.EACCES


def _refusal(port: int) -> int | None:
    """Return the errno with which the system refuses this port; None if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return error.errno
            raise
    return None
