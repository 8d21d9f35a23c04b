"""The command `commerce audit`."""

from collections.abc import Mapping

from commerce.messages.base import count_of
from starter.cli.shared import FAILED, AsJson, Connections, DataDir, err, out, print_line, run_connected
from starter.cli.tables import Column, print_table

FOUND = (Column("rule", 1), Column("subject"), Column("what is wrong", flexible=True, whole=True))


def audit(as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Check the rules that stock, fulfillments, accounts and the step ledger must never break.

    Exit code 1: a rule is broken. It is safe to run at any time: a process that is running may still repair what looks
    broken, so the audit does not report it.
    """
    from commerce.audit import Finding
    from starter.operate.audit import audit

    with err.status("Checking …") as status:

        def show(checked: Mapping[str, int]) -> None:
            status.update(f"Checked {', '.join(f'{count:,} {kind}' for kind, count in checked.items())}")

        async def run(connections: Connections) -> list[Finding]:
            return await audit(connections.database, connections.client, show)

        findings = run_connected(data_dir, run)
    if as_json:
        out.print_json(data=[finding.model_dump(mode="json") for finding in findings])
    elif findings:
        print_table(FOUND, [(finding.rule, finding.subject, finding.detail) for finding in findings])
        total = sum({finding.rule: finding.count for finding in findings}.values())
        print_line(f"{count_of(total, 'finding')}; the table shows the first ones of each rule")
        if cures := dict.fromkeys(finding.cure for finding in findings if finding.cure):
            print_line("Interrupted runs have left some of them; these commands repair them:")
            for cure in cures:
                print_line(f"  {cure}")
    else:
        print_line("The audit is clean: no rule is broken")
    return FAILED if findings else 0
