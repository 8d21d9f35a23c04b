"""Parse Markdown documents: code blocks and their files, commands, links, headings and tables."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, takewhile
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROMPT = "$ "
UNTRIED = "# Not tried by the tests: "  # the first line of a console block, followed by the reason
COMMENT = re.compile(r"\s+# .*")
NO_ANCHOR = re.compile(r"[^\w -]")
MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A code block. `file`: the file it is an excerpt of, the second word after the fence, or None."""

    language: str
    file: str | None
    text: str

    @property
    def untried(self) -> str | None:
        """The reason why its commands are not tried, or None."""
        return self.text.partition("\n")[0].removeprefix(UNTRIED) if self.text.startswith(UNTRIED) else None


@dataclass(frozen=True)
class ShownCommand:
    """A command and the output that the page shows."""

    command: str
    shown: str
    untried: str | None = None


def blocks(document: Path) -> Iterator[Block]:
    for fence in _tokens(document, "fence"):
        language, _, file = fence.info.partition(" ")
        yield Block(language, file or None, fence.content)


def shown_commands(document: Path) -> Iterator[ShownCommand]:
    """Yield the commands after a prompt; a backslash or an open quote continues a command on the next line."""
    for block in blocks(document):
        lines = block.text.splitlines() if block.language == "console" else []
        while lines:
            line = lines.pop(0)
            if line.startswith(PROMPT):
                command = COMMENT.sub("", line.removeprefix(PROMPT))
                while _continues(command):
                    command = f"{command.removesuffix(chr(92))}\n{lines.pop(0)}".replace(" \n", " ")
                shown = list(takewhile(lambda line: not line.startswith(PROMPT), lines))
                del lines[: len(shown)]
                yield ShownCommand(command.strip(), "\n".join(shown), block.untried)


def commands(document: Path) -> list[str]:
    """Return the commands of a document, without their comments."""
    return [found.command for found in shown_commands(document)]


def links(document: Path) -> Iterator[str]:
    """Yield the targets of links and pictures."""
    for text in _tokens(document, "inline"):
        for part in text.children or ():
            if target := part.attrGet("href") or part.attrGet("src"):
                yield str(target)


def pictures(document: Path) -> Iterator[Token]:
    """Yield the pictures of a document."""
    for text in _tokens(document, "inline"):
        yield from (part for part in text.children or () if part.type == "image")


def headings(document: Path) -> list[tuple[int, str]]:
    """Return the headings with their levels."""
    tokens = parsed(document)
    return [
        (int(opening.tag.removeprefix("h")), text.content)
        for opening, text in pairwise(tokens)
        if opening.type == "heading_open"
    ]


def prose(document: Path) -> str:
    """Return the text of a document without its code blocks."""
    kept = document.read_text().splitlines()
    for block in _tokens(document, "fence", "code_block"):
        assert block.map
        kept[slice(*block.map)] = [""] * (block.map[1] - block.map[0])
    return "\n".join(kept)


def tables(document: Path) -> Iterator[list[list[str]]]:
    """Yield every table as rows of cells; the first row is the header."""
    rows: list[list[str]] = []
    for token, inner in zip(tokens := parsed(document), [*tokens[1:], None], strict=True):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open") and inner:
            rows[-1].append(inner.content)
        elif token.type == "table_close":
            yield rows


def broken_links(document: Path) -> list[str]:
    """Return the links to files or headings of the repository that do not exist."""
    internal = [target for target in links(document) if "://" not in target]
    return [target for target in internal if not _target_exists(document, *target.partition("#")[::2])]


@cache
def parsed(document: Path) -> list[Token]:
    """Return the tokens of a page, which is parsed once: that takes up to 50 ms."""
    return MARKDOWN.parse(document.read_text())


def _tokens(document: Path, *kinds: str) -> Iterator[Token]:
    return (token for token in parsed(document) if token.type in kinds)


def _continues(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:  # an open quote, or a trailing backslash
        return True
    return False


def _target_exists(document: Path, path: str, anchor: str) -> bool:
    target = (document.parent / path).resolve() if path else document
    return target.exists() and (not anchor or anchor in _anchors(title for _, title in headings(target)))


def _anchors(titles: Iterable[str]) -> set[str]:
    """Return the anchors of headings; repeated titles get a number."""
    anchors: set[str] = set()
    seen: Counter[str] = Counter()
    for title in titles:
        anchor = NO_ANCHOR.sub("", title.lower()).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors
