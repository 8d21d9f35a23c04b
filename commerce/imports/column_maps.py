"""Column maps: how another shop's order file becomes rows of a shop admin's order export.

A map is a TOML file with layouts, one for each kind of file that the shop writes; the header decides which one it is.
`docs/import-files.md` describes the format. The built-in maps are in `commerce/imports/maps`.
"""

import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from commerce.currencies import USUAL_DECIMALS, decimals_of
from commerce.errors import UnreadableFile
from commerce.imports.columns import Columns, MappedRow, missing_columns
from commerce.imports.dialects import fold
from commerce.imports.input_file import DateOrder
from commerce.imports.line_totals import LINE_TOTAL, split_total
from commerce.imports.map_values import Cells, Value, source_of
from commerce.imports.packed_items import PackedItems
from commerce.imports.parsers import BadValue

BUILT_IN = Path(__file__).parent / "maps"
MAX_SIZE = 1024 * 1024  # bytes of a map
NAME = "Name"  # the column that all rows of an order have


class Layout(BaseModel):
    """One kind of file. Columns of the file are named in any case; `items.KEY` is a field of a packed item."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(description="what the file is, for messages")
    requires: list[str] = Field(min_length=1, description="columns by which the file is recognised")
    refuse: str | None = Field(None, description="why such a file cannot be imported, and what to export instead")
    dates: DateOrder | None = Field(None, description="the order of dates like 11/12/2026 in all such files")
    columns: dict[str, Value] = Field({}, description="the value of each of our columns")
    items: PackedItems | None = Field(None, description="how items are packed into one cell")


class ColumnMap(BaseModel):
    """The layouts of one shop's files. A layout has the columns of the map as well, unless it has its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, Value] = {}
    layout: list[Layout] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "ColumnMap":
        for layout in self.layout:
            values = self.columns | layout.columns
            if layout.refuse is None and NAME not in values:
                raise ValueError(f"{layout.title} needs the column {NAME!r}, the number that all rows of an order have")
            packed = [name for name, value in values.items() if any(map(_is_packed, value.sources()))]
            if packed and layout.items is None:
                raise ValueError(f"{layout.title} has no table `items`, but the column {packed[0]!r} is made of items")
        return self

    def names(self) -> Collection[str]:
        """Return the folded names of the columns that the layouts know."""
        values = [*self.columns.values(), *(value for layout in self.layout for value in layout.columns.values())]
        sources = [name for value in values for name in value.sources() if not _is_packed(name)]
        return {fold(name) for name in (*sources, *(name for layout in self.layout for name in layout.requires))}

    def bind(self, columns: Columns, header: Sequence[str]) -> "LayoutMapper":
        """Return the mapper of the layout that this header has. Raises BadValue."""
        there = {fold(name) for name in header}
        fitting = [layout for layout in self.layout if there.issuperset(map(fold, layout.requires))]
        if not fitting:
            raise BadValue(_nothing_fits(self.layout, header))
        if (reason := fitting[0].refuse) is not None:
            raise BadValue(f"it is {fitting[0].title}: {reason}")
        return LayoutMapper(fitting[0], self.columns | fitting[0].columns, columns, header)


class _LinePlaces(NamedTuple):
    """Where the cells are of which a price is made."""

    total: int
    price: int
    quantity: int

    @classmethod
    def find(cls, positions: Mapping[str, int]) -> "_LinePlaces | None":
        names = (LINE_TOTAL, "Lineitem price", "Lineitem quantity")
        return cls(*(positions[name] for name in names)) if positions.keys() >= set(names) else None


class LayoutMapper:
    """The Mapper of one file of a layout. Repeated fields of an order are only in the first of its rows."""

    def __init__(self, layout: Layout, values: Mapping[str, Value], columns: Columns, header: Sequence[str]) -> None:
        """Prepare for the columns of a header; a column that the reader needs and that has no value is empty."""
        places: dict[str, int] = {}
        for i, name in enumerate(header):
            places.setdefault(fold(name), i)
        self.dates = layout.dates
        self._items, self._packed = layout.items, layout.items.places(header) if layout.items else []
        found = {ours: value for ours, value in values.items() if value.is_there(places)}
        self._names = [*found, *(name for name in columns.required if name not in found)]
        self._values = [value.bind(places) for value in found.values()]
        self.positions: Mapping[str, int] = {name: i for i, name in enumerate(self._names)}
        self.used: Collection[int] = frozenset([*self._packed, *(i for value in self._values for i in value.places)])
        self.sources: Sequence[tuple[str, str]] = [
            (ours, source_of(value, header, places)) for ours, value in found.items()
        ]
        self._head = [i for i, name in enumerate(self._names) if name != NAME and not name.startswith("Lineitem")]
        self._missing = [""] * (len(self._names) - len(self._values))
        self._currency, self._decimals = self.positions.get("Currency"), USUAL_DECIMALS
        self._line = _LinePlaces.find(self.positions)
        self._order = ""

    def rows(self, cells: list[str]) -> Iterator[MappedRow]:
        """Yield a row for each item; the fields of an order are in the first row that has its number."""
        items: Sequence[Mapping[str, str]] = [{}]
        problems: dict[str | None, str] = {}
        if self._items is not None:
            try:
                items = self._items.unpack([cells[i] for i in self._packed])
            except BadValue as problem:
                problems[None] = str(problem)
        for item in items:
            yield self._map(Cells(cells, item), problems)
            problems = {}

    def _map(self, cells: Cells, problems: Mapping[str | None, str]) -> MappedRow:
        problems, values = dict(problems), list[str]()
        for name, value in zip(self._names, self._values, strict=False):
            try:
                values.append(value.of(cells))
            except BadValue as problem:
                problems[name] = str(problem)
                values.append("")
        row = [*values, *self._missing]
        name = row[self.positions[NAME]].strip() or self._order
        row[self.positions[NAME]] = name
        if name == self._order:
            for i in self._head:
                row[i] = ""
                problems.pop(self._names[i], None)
        self._order = name
        return MappedRow(row, problems)

    def split(self, cells: list[str]) -> Iterator[list[str]]:
        """Yield the rows of a line that has only a total, with prices; other rows as they are."""
        if self._currency is not None and cells[self._currency]:
            self._decimals = decimals_of(cells[self._currency].upper())
        line = self._line
        if line is None or cells[line.price] or not cells[line.total]:
            yield cells
            return
        parts = split_total(cells[line.total], cells[line.quantity], self._decimals)
        for number, (units, unit_price) in enumerate(parts):
            row = [*cells]
            row[line.quantity], row[line.price] = units, unit_price
            if number:
                for i in self._head:
                    row[i] = ""
            yield row


class BuiltIn(NamedTuple):
    """A layout of a built-in map that a header has."""

    map_name: str
    title: str


def load_map(name: str) -> ColumnMap:
    """Return a built-in map by its name, or that of a TOML file by its path. Raises UnreadableFile."""
    if name in built_in_maps():
        return _load(BUILT_IN / f"{name}.toml")
    path = Path(name)
    if not path.suffix and not path.exists():
        raise UnreadableFile(name, f"there is no such map: name a TOML file, or one of {', '.join(built_in_maps())}")
    return _load(path)


@cache
def built_in_maps() -> tuple[str, ...]:
    """Return the names of the built-in maps."""
    return tuple(sorted(path.stem for path in BUILT_IN.glob("*.toml")))


def recognise(header: Sequence[str]) -> BuiltIn | None:
    """Return the built-in layout that a header has."""
    there = {fold(name) for name in header}
    for name in built_in_maps():
        for layout in _load(BUILT_IN / f"{name}.toml").layout:
            if there.issuperset(map(fold, layout.requires)):
                return BuiltIn(name, layout.title)
    return None


def _load(path: Path) -> ColumnMap:
    try:
        if path.stat().st_size > MAX_SIZE:
            raise UnreadableFile(str(path), "it is too large to be a column map")
        with path.open("rb") as file:
            return ColumnMap.model_validate(tomllib.load(file))
    except OSError as error:
        raise UnreadableFile(str(path), (error.strerror or "it cannot be opened").lower()) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnreadableFile(str(path), f"it is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableFile(str(path), f"it is no column map: {where}: {first['msg']}") from error


def _is_packed(source: str) -> bool:
    return source.startswith("items.")


def _nothing_fits(layouts: Sequence[Layout], header: Sequence[str]) -> str:
    there = {fold(name) for name in header}
    lacking = {
        layout.title: [n for n in layout.requires if fold(n) not in there]
        for layout in layouts
        if layout.refuse is None
    }
    nearest = min(lacking, key=lambda title: len(lacking[title]))
    return f"it is no file that the map knows. To be {nearest}, {missing_columns(lacking[nearest], header)}"
