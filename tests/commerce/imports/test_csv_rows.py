"""A file cannot fill the memory, however it is built, and does not keep an import busy without an end."""

import gzip
import tracemalloc
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest

from commerce.errors import UnreadableFile
from commerce.imports import csv_rows
from commerce.imports.csv_rows import Columns, open_rows

HEADER = b"A,B\n"
MEGABYTE = 1024 * 1024
MAX_MEMORY = 32 * MEGABYTE


def read(file: Path) -> list[list[str]]:
    with open_rows(file, Columns(required=("A", "B"))) as rows:
        return [[row.text("A"), row.text("B")] for row in rows]


def write_gzip(file: Path, chunks: Iterator[bytes]) -> Path:
    with gzip.open(file, "wb", compresslevel=1) as packed:
        for chunk in chain([HEADER], chunks):
            packed.write(chunk)
    return file


@pytest.mark.parametrize(
    ("chunk", "problem"),
    [
        (b"x" * MEGABYTE, "a row of more than"),
        (b"x," * MEGABYTE, "a row of more than"),
        (b'"\n",' * MEGABYTE, "a row of more than"),
        (b'"' + b"\n" * MEGABYTE, "field larger than field limit"),
    ],
    ids=["one cell", "many cells", "many cells with line breaks", "one cell of line breaks"],
)
def test_a_row_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path, chunk: bytes, problem: str) -> None:
    file = write_gzip(tmp_path / "rows.csv.gz", repeat(chunk, 200))
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableFile, match=problem):
            read(file)
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY
    finally:
        tracemalloc.stop()


def test_the_header_is_limited_too(tmp_path: Path) -> None:
    (file := tmp_path / "rows.csv").write_bytes(b"A," * MEGABYTE)
    with pytest.raises(UnreadableFile, match="a row of more than 1,048,576 characters"):
        read(file)


def test_each_row_may_be_as_long_as_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "MAX_ROW", 10)
    (file := tmp_path / "rows.csv").write_bytes(HEADER + b'1234,6789\n"23\n6",9\n' * 5)
    assert read(file) == [["1234", "6789"], ["23\n6", "9"]] * 5
    file.write_bytes(HEADER + b"1234,67890\n")
    with pytest.raises(UnreadableFile, match="a row of more than 10 characters"):
        read(file)


@pytest.mark.parametrize("empty", [b"\n", b",\n", b'"",""\n'])
def test_empty_rows_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: bytes) -> None:
    monkeypatch.setattr(csv_rows, "MAX_EMPTY_ROWS", 1000)
    assert read(write_gzip(tmp_path / "rows.csv", chain([b"1,2\n"], repeat(empty, 1000)))) == [["1", "2"]]
    with pytest.raises(UnreadableFile, match="more than 1,000 empty rows"):
        read(write_gzip(tmp_path / "rows.csv", repeat(empty, 1001)))
