"""Looks into the Temporal that the tests run, to see what its version knows."""

import mmap
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

BESIDE = Path(sys.executable).parent / "temporal"
TEMPORAL = str(BESIDE if BESIDE.exists() else shutil.which("temporal"))
START, END = b"# enable-template", b"dynamicConfigClient:"  # of the configuration that the server carries within itself


@cache
def versions() -> dict[str, str]:
    """Return the versions of what is inside, as `{"Server": "1.32.0", "UI": …}`."""
    said = subprocess.run([TEMPORAL, "--version"], capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"(Server|UI) ([\d.]+)", said))


@cache
def server_variables() -> set[str]:
    """Return the variables that its server's own configuration reads."""
    with Path(TEMPORAL).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
        begin = binary.find(START + b"\n")
        template = binary[begin : binary.find(END, begin) + 300]
    return {name.decode() for name in re.findall(rb'env "(\w+)"', template)}


def knows(name: str) -> bool:
    """Say whether this name stands in it, in whatever case: keys of dynamic configuration have none."""
    with Path(TEMPORAL).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
        return re.search(re.escape(name.encode()), binary, re.IGNORECASE) is not None
