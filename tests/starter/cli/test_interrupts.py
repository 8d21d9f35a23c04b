"""Ctrl-C at any moment ends a command without a traceback, also while its modules are being loaded."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.keys import ENCRYPTION_ENV
from tests.paths import ROOT

NOWHERE = {"COMMERCE_DATABASE_URL": "postgresql://commerce@127.0.0.1:1/shop", "TEMPORAL_ADDRESS": "127.0.0.1:1"}
SOON = (0, 0.15, 0.4, 0.8)  # seconds after it has begun to load
LOADING = "asyncio.base_events"  # one of the first modules that the command line loads
ENDED = {-signal.SIGINT, 130, 0, 3}  # 0 and 3: it had loaded before


@pytest.mark.programs
@pytest.mark.parametrize("command", ["runs list", "import orders none.csv", "worker", "worker --processes 2", "api"])
@pytest.mark.parametrize("seconds", SOON)
def test_an_interrupt_prints_no_traceback(tmp_path: Path, command: str, seconds: float) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("COMMERCE_", "TEMPORAL_"))}
    more = (
        ENCRYPTION_ENV | NOWHERE | {"PYTHONPATH": str(ROOT), "COMMERCE_API_PORT": "0", "PYTHONPROFILEIMPORTTIME": "1"}
    )
    program = subprocess.Popen(
        [sys.executable, "-m", "starter", *command.split()],
        cwd=tmp_path,
        env=inherited | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert program.stdout
    while LOADING not in (line := program.stdout.readline()):
        assert line
    time.sleep(seconds)  # whenever the signal arrives, the same holds
    program.send_signal(signal.SIGINT)
    output, _ = program.communicate(timeout=60)
    assert "Traceback" not in output and "KeyboardInterrupt" not in output
    assert program.returncode in ENDED | {2}, output  # 2: the file is missing
