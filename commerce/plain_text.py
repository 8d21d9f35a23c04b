"""Make text that outsiders wrote harmless where people read it: on a terminal, in a log, in a mail."""

import re
import unicodedata

# Controls, line separators, and characters that change the direction in which text is shown.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# A host name without scheme: with a well-known end, or with a last label in lower case after one that is no title.
DOMAIN = re.compile(
    r"""(?<![\w.-])(?:[\w-]+[.])+(?:
        (?i:com|net|org|info|biz|io|co|app|dev|me|ly|gl|gd|xyz|top|shop|store|site|online|click|link|live|club|vip|icu
        |example|uk|us|eu|de|fr|nl|it|es|pl|ru|cn|in|рф)
        | (?<!\b(?i:st|dr|mr|ms|ma|fr|jr|sr)[.])(?<!\b(?i:mrs|sta|rev)[.])(?<!\b(?i:prof)[.])(?<!\b\w[.])[a-z]{2,}
    )(?![\w-])""",
    re.VERBOSE,
)
WEB_ADDRESS = re.compile(
    rf"{DOMAIN.pattern} | :// | (?<!\w)//(?=\w) | (?i:(?<!\w)www\d*[.](?=\S)) | (?<=\w)@(?=\w)", re.VERBOSE
)
FULL_STOPS = str.maketrans("。．｡", "...")  # browsers take them for dots in host names
LINK_MARKS = re.compile(r":(?=//)|//|[.@]")  # with a space after each, mail programs make no link
CONTROLS_IN_LINES = re.compile("(?![\n\t])" + CONTROLS.pattern)


def escape_controls(text: str, *, keep_lines: bool = False) -> str:
    r"""Return the text with control characters as escapes such as `\x1b`; a terminal would obey them.

    With `keep_lines`, line breaks and tabs stay.
    """
    return (CONTROLS_IN_LINES if keep_lines else CONTROLS).sub(_escape, text)


def has_web_address(text: str) -> bool:
    """Return whether a text contains something that mail programs or people take for a web or e-mail address."""
    return WEB_ADDRESS.search(unicodedata.normalize("NFKC", text).translate(FULL_STOPS)) is not None


def neutralize(text: str) -> str:
    """Return the text on one line, without controls, and with a space in each web address so that none is a link."""
    without_controls = " ".join(CONTROLS.sub(" ", text).split())
    if not has_web_address(without_controls):
        return without_controls
    plain = unicodedata.normalize("NFKC", without_controls).translate(FULL_STOPS)
    return WEB_ADDRESS.sub(lambda found: LINK_MARKS.sub(r"\g<0> ", found[0]), plain).strip()


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
