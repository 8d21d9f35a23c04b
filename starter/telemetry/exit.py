"""How every entry point of ours ends: at once, with everything written that was said.

A process that used a Temporal client may abort while Python takes itself down (sdk-python#300); this way it never does.
"""

import logging
import os
import sys
from typing import NoReturn

from starter.telemetry import tracing


def exit_process(code: int) -> NoReturn:
    """Flush traces, logs and standard streams, then leave with this exit code without Python's finalisation."""
    tracing.flush()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # whoever read it has gone; the exit code still says how it went
            code = code or 1
    os._exit(code)
