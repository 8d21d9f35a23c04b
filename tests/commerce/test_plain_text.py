"""Text of outsiders: what a terminal or a mail program would obey becomes visible or harmless."""

import pytest

from commerce.plain_text import escape_controls


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Zoë O'Brien 李 👋", "Zoë O'Brien 李 👋"),
        ("\x1b]0;title\x07\x1b[2J", r"\x1b]0;title\x07\x1b[2J"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("a\u202eb\u2066c\u2028d\u200fe", r"a\u202eb\u2066c\u2028d\u200fe"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_controls_are_escaped(text: str, wanted: str) -> None:
    assert escape_controls(text) == wanted


def test_lines_can_be_kept() -> None:
    assert escape_controls("a\n\tb\x1b[0m\r", keep_lines=True) == "a\n\tb\\x1b[0m\\r"
