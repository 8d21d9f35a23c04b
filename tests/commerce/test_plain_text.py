"""Text of outsiders: what a terminal or a mail program would obey becomes visible or harmless."""

import pytest

from commerce.plain_text import escape_controls, has_web_address, neutralize


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


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Ann Lee", "Ann Lee"),
        ("Mug, 0.5 l, No.7 (white)", "Mug, 0.5 l, No.7 (white)"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("Ann\r\n\x1b[0m\u202e Lee", "Ann [0m Lee"),
        ("claim at https://evil.example/x", "claim at https: // evil. example/x"),
        ("www.evil.com", "www. evil. com"),
        ("Mail ann@evil.com", "Mail ann@ evil. com"),
        ("ｅｖｉｌ．ｃｏｍ", "evil. com"),
    ],
)
def test_a_mail_makes_no_link_of_it(text: str, wanted: str) -> None:
    assert neutralize(text) == wanted
    assert neutralize(wanted) == wanted
    assert not has_web_address(wanted)


@pytest.mark.parametrize("part", ["a.", "a@", "://", "www.", "a.b", "-", ".", "\u0301"])
def test_long_texts_take_no_time(part: str) -> None:
    text = part * 10_000
    neutralize(text[:10_000])
    has_web_address(text[:10_000])
