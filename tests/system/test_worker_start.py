"""A worker that cannot start prints the reason in one line and exits with the right code."""

import os
import socket
from pathlib import Path

import pytest

from tests.forks import Program
from tests.keys import ENCRYPTION_ENV
from tests.paths import ROOT

UNREACHABLE = "127.0.0.1:1"


def run_worker(folder: Path, **variables: str) -> tuple[int, str]:
    """Run a worker that is expected to exit; return its exit code and its output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("COMMERCE_", "TEMPORAL_"))}
    unreachable = {"PYTHONPATH": str(ROOT), "TEMPORAL_CONFIG_FILE": os.devnull, "TEMPORAL_ADDRESS": UNREACHABLE}
    environment = inherited | unreachable | ENCRYPTION_ENV | variables
    program = Program("worker", environment, folder, folder / "worker.log")
    return program.wait(), program.log.read_text()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("COMMERCE_TIMEZONE", "Mars", "COMMERCE_TIMEZONE: is not an IANA time zone, like Europe/London\n"),
        ("COMMERCE_SMTP_URL", "mail.example", "COMMERCE_SMTP_URL: must start with smtp://"),
        ("COMMERCE_ENCRYPTION_KEYS", "", "COMMERCE_ENCRYPTION_KEYS or COMMERCE_ENCRYPTION_KEYS_FILE: there is no key"),
        ("COMMERCE_ENCRYPTION_KEYS", "hunter2", "COMMERCE_ENCRYPTION_KEYS: key 1 is not base64 of 32 bytes; make one "),
        ("COMMERCE_MAIL_FROM", "nobody", "COMMERCE_SMTP_URL or COMMERCE_MAIL_FROM: the sender must be an address"),
    ],
)
def test_an_invalid_setting_exits_with_code_2(tmp_path: Path, variable: str, value: str, message: str) -> None:
    code, line = run_worker(tmp_path, **{variable: value})
    assert (code, line.count("\n")) == (2, 1), line
    assert line.startswith(message)


def test_an_unreachable_database_exits_with_code_3(tmp_path: Path) -> None:
    code, line = run_worker(tmp_path, COMMERCE_DATABASE_URL=f"postgresql://ann:secret@{UNREACHABLE}/shop")
    assert (code, line) == (
        3,
        "The database is unavailable: no connection to 127.0.0.1:1 (ConnectionRefusedError).\n",
    )


def test_an_unreachable_temporal_exits_with_code_3(tmp_path: Path, database_url: str) -> None:
    code, line = run_worker(tmp_path, COMMERCE_DATABASE_URL=database_url)
    assert (code, line) == (3, f"Temporal does not answer at {UNREACHABLE}.\n")


def test_invalid_temporal_settings_exit_with_code_2(tmp_path: Path, database_url: str) -> None:
    code, line = run_worker(tmp_path, COMMERCE_DATABASE_URL=database_url, TEMPORAL_PROFILE="nobody's")
    assert (code, line) == (2, "Temporal's settings (TEMPORAL_…) are invalid: Profile 'nobody's' not found\n")


def test_a_metrics_address_in_use_exits_with_code_2(tmp_path: Path, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "{}:{}".format(*listener.getsockname())
        code, line = run_worker(tmp_path, COMMERCE_DATABASE_URL=database_url, COMMERCE_METRICS_ADDRESS=address)
    message = f"COMMERCE_METRICS_ADDRESS: cannot listen on {address}: Address already in use (os error 98)\n"
    assert (code, line) == (2, message)
