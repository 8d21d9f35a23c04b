"""The API as a program with other limits: `python -m tests.starter.api.program head_seconds=0.5 files=1024`.

`files` is the number of files that the process may open; any other name is a constant of starter/api/connections.py.
Tests need not wait for the real deadlines.
"""

import resource
import sys

from starter.api import connections
from starter.api.__main__ import main

if __name__ == "__main__":
    for setting in sys.argv[1:]:
        name, _, value = setting.partition("=")
        if name == "files":
            resource.setrlimit(resource.RLIMIT_NOFILE, (int(value), int(value)))
        else:
            setattr(connections, name, float(value))
    main()
