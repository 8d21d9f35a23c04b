"""How each of our programs exits: at once, after flushing its traces, logs and output.

A program that used a Temporal client may abort during Python's own finalization (sdk-python#300), so we skip that.
"""

import logging
import os
import sys
from typing import NoReturn

from starter.telemetry import tracing


def exit_process(code: int) -> NoReturn:
    """Flush traces, logs and standard streams, and exit with this code without Python's finalization."""
    tracing.flush()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the reader has closed the pipe: only the exit code can still report it
            code = code or 1
    os._exit(code)
