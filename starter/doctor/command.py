"""The command `commerce doctor`."""

import asyncio
from collections.abc import Mapping

from pydantic import TypeAdapter
from rich.console import Console

from starter.doctor.checks import CHECKS
from starter.doctor.findings import Finding, exit_code
from starter.doctor.report import print_report
from starter.doctor.runner import CheckContext, run_checks

FINDINGS = TypeAdapter(list[Finding])


def doctor(out: Console, environment: Mapping[str, str], *, as_json: bool) -> int:
    """Check the installation that these variables describe, print the findings, and return the exit code."""
    findings = asyncio.run(run_checks(CheckContext(environment), CHECKS))
    if as_json:
        out.print_json(data=FINDINGS.dump_python(findings, mode="json", by_alias=True))
    else:
        print_report(out, findings)
    return exit_code(findings)
