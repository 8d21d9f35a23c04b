"""The command `commerce doctor`."""

import asyncio
from collections.abc import Mapping

from pydantic import TypeAdapter
from rich.console import Console

from starter.doctor.checks import CHECKS
from starter.doctor.examination import Installation, examine
from starter.doctor.findings import Finding, exit_code
from starter.doctor.screen import show

as_list = TypeAdapter(list[Finding])


def doctor(out: Console, environment: Mapping[str, str], *, as_json: bool) -> int:
    """Examine the installation that these variables describe, print what is found, and return the exit code."""
    findings = asyncio.run(examine(Installation(environment), CHECKS))
    if as_json:
        out.print_json(data=as_list.dump_python(findings, mode="json"))
    else:
        show(out, findings)
    return exit_code(findings)
