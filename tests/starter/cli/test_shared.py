"""What all commands print."""

from io import StringIO

from rich.table import Table

from starter.cli.shared import SafeConsole


def test_a_terminal_obeys_nothing_that_outsiders_wrote() -> None:
    written = StringIO()
    console = SafeConsole(file=written, force_terminal=True, highlight=False, width=100)
    hostile = "\x1b]0;title\x07 \x9b2J \u202e"
    table = Table("Process", title=hostile)
    table.add_row(hostile)
    console.print(table)
    console.print(hostile, markup=False, soft_wrap=True)
    console.print("two\nlines", markup=False)
    assert not {"\x07", "\x9b", "\u202e"} & set(written.getvalue()) and "\x1b]" not in written.getvalue()
    assert written.getvalue().count(r"\x1b]0;title\x07 \x9b2J \u202e") == 3
    assert "two\nlines" in written.getvalue()
