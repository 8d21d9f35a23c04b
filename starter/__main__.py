"""`python -m starter`: the command line. Until it is loaded, Ctrl-C ends it without a traceback."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line, and end the process with its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from starter.cli.app import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
