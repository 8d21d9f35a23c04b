"""Reads what a document promises: its code blocks, the files they are of, its commands and its links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(?P<language>\w+)(?: (?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)
NO_ANCHOR = re.compile(r"[^\w -]")


@dataclass(frozen=True)
class Block:
    """A block of code and, where it is marked, the file that it is of: the second word after the fence."""

    language: str
    file: str | None
    text: str


def blocks(document: Path) -> Iterator[Block]:
    for found in BLOCK.finditer(document.read_text()):
        yield Block(**found.groupdict())


def commands(document: Path) -> list[str]:
    """Return what is typed after a prompt, without its comment; a command goes on behind a backslash."""
    consoles = "\n".join(block.text for block in blocks(document) if block.language == "console")
    typed = re.findall(r"^\$ (.+)$", consoles.replace("\\\n", " "), re.MULTILINE)
    return [re.sub(r"\s+# .*", "", line).strip() for line in typed]


def broken_links(document: Path) -> list[str]:
    """Return the links to files or headings of ours that are not there."""
    text = BLOCK.sub("", document.read_text())
    ours = [found["target"] for found in LINK.finditer(text) if "://" not in found["target"]]
    return [target for target in ours if not _leads_somewhere(document, *target.partition("#")[::2])]


def _leads_somewhere(document: Path, path: str, anchor: str) -> bool:
    target = (document.parent / path).resolve() if path else document
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(document: Path) -> set[str]:
    titles = [found["title"] for found in HEADING.finditer(BLOCK.sub("", document.read_text()))]
    return {NO_ANCHOR.sub("", title.lower()).replace(" ", "-") for title in titles}
