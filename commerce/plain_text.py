"""Make text that outsiders wrote harmless where people read it: on a terminal, in a log, in a mail."""

import re

# Controls, line separators, and characters that change the direction in which text is shown.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
CONTROLS_IN_LINES = re.compile("(?![\n\t])" + CONTROLS.pattern)


def escape_controls(text: str, *, keep_lines: bool = False) -> str:
    r"""Return the text with control characters as escapes such as `\x1b`; a terminal would obey them.

    With `keep_lines`, line breaks and tabs stay.
    """
    return (CONTROLS_IN_LINES if keep_lines else CONTROLS).sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
