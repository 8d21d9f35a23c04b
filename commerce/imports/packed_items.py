"""Unpack the items of an order that a file has in one cell, or in a column for each item."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from commerce.imports.dialects import fold
from commerce.imports.parsers import BadValue

ESCAPED = re.compile(r"\\([:|;,\\])")


class PackedItems(BaseModel):
    """Items like `sku:MUG|quantity:2;sku:JUG|quantity:1`, or as a JSON list.

    Fields are found by their keys: a text between two keys may have separators in it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: list[str] = Field(min_length=1, description="the columns; * stands for any text, as in line_item_*")
    keys: list[str] = Field(min_length=1, description="all keys of an item; each item starts with the first")
    between_fields: str = Field(min_length=1, description="the text between two fields, such as |")
    between_items: str = Field(min_length=1, description="the text between two items of a cell, such as ;")

    def places(self, header: Sequence[str]) -> list[int]:
        """Return where the columns are in a header."""
        patterns = [fold(name) for name in self.columns]
        return [i for i, name in enumerate(header) if any(fnmatchcase(fold(name), pattern) for pattern in patterns)]

    def unpack(self, cells: Sequence[str]) -> list[Mapping[str, str]]:
        """Return the fields of each item by key. Raises BadValue if a cell is not readable or there is no item."""
        items = [item for cell in cells if cell.strip() for item in self._unpack_cell(cell.strip())]
        if not items:
            raise BadValue(f"there is no item in {', '.join(self.columns)}")
        return items

    def _unpack_cell(self, cell: str) -> list[Mapping[str, str]]:
        if cell.startswith(("[", "{")):
            return _from_json(cell)
        starts = [match.start("key") for match in self._start.finditer(cell)]
        if not starts or starts[0] != 0:
            raise BadValue(f"items must start with {self.keys[0]}:")
        ends = [*starts[1:], len(cell)]
        return [self._fields(cell[start:end]) for start, end in zip(starts, ends, strict=True)]

    def _fields(self, item: str) -> dict[str, str]:
        found = list(self._key.finditer(item))
        ends = [*(match.start() for match in found[1:]), len(item)]
        between = self.between_items.strip()
        fields: dict[str, str] = {}
        for match, end in zip(found, ends, strict=True):
            text = item[match.end() : end].strip()
            if end == len(item):
                text = text.removesuffix(between).strip()
            fields.setdefault(match["key"], html.unescape(ESCAPED.sub(r"\1", text)))
        return fields

    @cached_property
    def _start(self) -> re.Pattern[str]:
        between = re.escape(self.between_items.strip())
        return re.compile(rf"(?:^|(?<!\\){between}\s*)(?P<key>{re.escape(self.keys[0])}\s*:)")

    @cached_property
    def _key(self) -> re.Pattern[str]:
        keys = "|".join(re.escape(key) for key in sorted(self.keys, key=len, reverse=True))
        return re.compile(rf"(?:^|(?<!\\){re.escape(self.between_fields.strip())}\s*)(?P<key>{keys})\s*:")


def _from_json(cell: str) -> list[Mapping[str, str]]:
    try:
        data = json.loads(cell)
    except (ValueError, RecursionError):
        raise BadValue("the items are not valid JSON") from None
    items = data if isinstance(data, list) else [data]
    if not all(isinstance(item, dict) for item in items):
        raise BadValue("the items are not a list of objects")
    return [
        {key: html.unescape(str(value)) for key, value in item.items() if isinstance(value, str | int | float)}
        for item in items
    ]
