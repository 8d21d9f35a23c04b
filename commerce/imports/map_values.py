"""The values of a column map: how one of our cells is made of the cells of a row."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from commerce.imports.dialects import fold
from commerce.imports.parsers import BadValue

PACKED = "items."
WORD_BREAKS = str.maketrans("_-", "  ")


class Cells(NamedTuple):
    """What a value is made of: the cells of a row, and the fields of one of its packed items."""

    row: Sequence[str]
    item: Mapping[str, str]


class Value(BaseModel):
    """A value. In TOML, a text stands for `{column = "…"}` and a list of texts for `{join = […]}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str | None = None
    join: list[str] | None = Field(None, description="columns whose texts are joined with blanks")
    first: list[str] | None = Field(None, description="columns of which the first one with a text counts")
    value: str | None = Field(None, description="a text that does not depend on the file")
    words: dict[str, str] | None = Field(None, description="our words by those of the file, in any case; no others")
    filled: str | None = Field(None, description="our word if the column has a text")
    empty: str = Field("", description="our word if the column has none; with `filled`")
    line: int | None = Field(None, ge=1, description="the line of a text of several lines")
    absolute: bool = Field(False, description="whether a minus sign is left out")

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"column": data}
        return {"join": data} if isinstance(data, list) else data

    @model_validator(mode="after")
    def _check(self) -> "Value":
        if sum(source is not None for source in (self.column, self.join, self.first, self.value)) != 1:
            raise ValueError("must have one of column, join, first and value")
        return self

    def sources(self) -> list[str]:
        """Return the columns of the file that the value is made of."""
        return [*(self.first or self.join or []), *([self.column] if self.column is not None else [])]

    def is_there(self, places: Mapping[str, int]) -> bool:
        """Return whether a file with these columns has the value."""
        sources = self.sources()
        return not sources or any(name.startswith(PACKED) or fold(name) in places for name in sources)

    def bind(self, places: Mapping[str, int]) -> "BoundValue":
        """Return the value for a file with these columns."""
        return BoundValue(self, places)


class BoundValue:
    """A value whose columns were found in a file."""

    def __init__(self, value: Value, places: Mapping[str, int]) -> None:
        """Find the columns; those that are not there count as empty."""
        self._value = value
        self._words = {_fold_word(theirs): ours for theirs, ours in (value.words or {}).items()}
        self._sources = [_place(name, places) for name in value.sources()]
        self.places = [place for place in self._sources if isinstance(place, int)]

    def of(self, cells: Cells) -> str:
        """Return our cell. Raises BadValue for a word that the map does not know."""
        value = self._value
        if value.value is not None:
            return value.value
        texts = [self._text(cells, source) for source in self._sources]
        text = " ".join(filter(None, texts)) if value.first is None else next(filter(None, texts), "")
        if value.filled is not None:
            return value.filled if text else value.empty
        if value.line is not None:
            text = (text.replace("\r\n", "\n").replace("\r", "\n").split("\n") + [""] * value.line)[value.line - 1]
        if value.absolute:
            text = text.replace("-", "", 1)
        return self._translate(text) if value.words is not None else text

    def _text(self, cells: Cells, source: int | str | None) -> str:
        if isinstance(source, int):
            return cells.row[source].strip()
        return cells.item.get(source, "").strip() if source is not None else ""

    def _translate(self, text: str) -> str:
        try:
            return self._words[_fold_word(text)]
        except KeyError:
            known = ", ".join(filter(None, self._words))
            raise BadValue(f"the map translates only these words: {known}; add the word of the file to a map") from None


def source_of(value: Value, header: Sequence[str], places: Mapping[str, int]) -> str:
    """Return where a value comes from, to show."""
    if value.value is not None:
        return f"always {value.value}"
    names = [header[places[fold(name)]].strip() if fold(name) in places else name for name in value.sources()]
    there = [name for name in names if name.startswith(PACKED) or fold(name) in places]
    return (" + " if value.first is None else ", else ").join(there)


def _place(name: str, places: Mapping[str, int]) -> int | str | None:
    return name.removeprefix(PACKED) if name.startswith(PACKED) else places.get(fold(name))


def _fold_word(word: str) -> str:
    return fold(word.translate(WORD_BREAKS))
