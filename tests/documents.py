"""Reads what a document promises: its code blocks, the files they are of, its commands, links and headings."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROMPT = "$ "
UNTRIED = "# Not tried by the tests: "  # atop a console block, and then the reason
COMMENT = re.compile(r"\s+# .*")
NO_ANCHOR = re.compile(r"[^\w -]")
MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A block of code and, where it is marked, the file that it is of: the second word after the fence."""

    language: str
    file: str | None
    text: str

    @property
    def untried(self) -> str | None:
        """Why its commands are not tried; None: they are."""
        return self.text.partition("\n")[0].removeprefix(UNTRIED) if self.text.startswith(UNTRIED) else None


@dataclass(frozen=True)
class Typed:
    """A command as it is typed, and the output that the page shows of it."""

    command: str
    shown: str
    untried: str | None = None


def blocks(document: Path) -> Iterator[Block]:
    for fence in _tokens(document, "fence"):
        language, _, file = fence.info.partition(" ")
        yield Block(language, file or None, fence.content)


def typed(document: Path) -> Iterator[Typed]:
    """Yield what is typed after a prompt; a command goes on behind a backslash, and within quotes."""
    for block in blocks(document):
        lines = block.text.splitlines() if block.language == "console" else []
        while lines:
            line = lines.pop(0)
            if line.startswith(PROMPT):
                command = COMMENT.sub("", line.removeprefix(PROMPT))
                while _goes_on(command):
                    command = f"{command.removesuffix(chr(92))}\n{lines.pop(0)}".replace(" \n", " ")
                shown = list(takewhile(lambda line: not line.startswith(PROMPT), lines))
                del lines[: len(shown)]
                yield Typed(command.strip(), "\n".join(shown), block.untried)


def commands(document: Path) -> list[str]:
    """Return what is typed after a prompt, without its comment."""
    return [found.command for found in typed(document)]


def links(document: Path) -> Iterator[str]:
    """Yield where links and pictures lead."""
    for text in _tokens(document, "inline"):
        for part in text.children or ():
            if target := part.attrGet("href") or part.attrGet("src"):
                yield str(target)


def pictures(document: Path) -> Iterator[Token]:
    """Yield the pictures of a page."""
    for text in _tokens(document, "inline"):
        yield from (part for part in text.children or () if part.type == "image")


def headings(document: Path) -> list[tuple[int, str]]:
    """Return every heading with its level."""
    tokens = MARKDOWN.parse(document.read_text())
    return [
        (int(opening.tag.removeprefix("h")), text.content)
        for opening, text in pairwise(tokens)
        if opening.type == "heading_open"
    ]


def prose(document: Path) -> str:
    """Return a page without its blocks of code."""
    kept = document.read_text().splitlines()
    for block in _tokens(document, "fence", "code_block"):
        assert block.map
        kept[slice(*block.map)] = [""] * (block.map[1] - block.map[0])
    return "\n".join(kept)


def tables(document: Path) -> Iterator[list[list[str]]]:
    """Yield every table as rows of cells, the first one its heads."""
    rows: list[list[str]] = []
    for token, inner in zip(tokens := MARKDOWN.parse(document.read_text()), [*tokens[1:], None], strict=True):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open") and inner:
            rows[-1].append(inner.content)
        elif token.type == "table_close":
            yield rows


def broken_links(document: Path) -> list[str]:
    """Return the links to files or headings of ours that are not there."""
    ours = [target for target in links(document) if "://" not in target]
    return [target for target in ours if not _leads_somewhere(document, *target.partition("#")[::2])]


def _tokens(document: Path, *kinds: str) -> Iterator[Token]:
    return (token for token in MARKDOWN.parse(document.read_text()) if token.type in kinds)


def _goes_on(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:  # an open quotation, or a backslash with nothing behind it
        return True
    return False


def _leads_somewhere(document: Path, path: str, anchor: str) -> bool:
    target = (document.parent / path).resolve() if path else document
    return target.exists() and (not anchor or anchor in _anchors(title for _, title in headings(target)))


def _anchors(titles: Iterable[str]) -> set[str]:
    """Return what headings are linked by; the second one of a name has a number."""
    anchors: set[str] = set()
    seen: Counter[str] = Counter()
    for title in titles:
        anchor = NO_ANCHOR.sub("", title.lower()).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors
