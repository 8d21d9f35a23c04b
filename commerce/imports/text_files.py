"""Open a file as text: plain or gzip, in whatever encoding shops and spreadsheets write.

The encoding is decided on the start of the file. A byte-order mark says what it is, bytes that are valid UTF-8 are
UTF-8, and the rest is Windows-1252, which is what spreadsheets write in western Europe and America. Statistics over
letters (as of `charset-normalizer`) were tried and not taken: for short files they name encodings that nobody uses, and
the names of customers would be wrong without an error. All decoding is strict.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, TextIO

from commerce.errors import UnreadableFile

GZIP_MAGIC = b"\x1f\x8b"
SAMPLE = 1024 * 1024  # bytes, of which the encoding is decided
CHUNK = 128 * 1024  # bytes read at once
START = 4096  # bytes, in which UTF-16 without a byte-order mark shows
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # starts like UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
GUESSED = "windows-1252"
BY_CHANCE = 4  # so many wrong bytes must there be for each letter that is valid UTF-8 by chance
READ_ERRORS = (EOFError, OSError, zlib.error)


class OpenText(NamedTuple):
    """A file as text, without a byte-order mark."""

    stream: TextIO  # from the start; line ends are kept
    sample: str  # the start once more
    complete: bool  # whether the sample is all of the file
    encoding: str
    guessed: bool  # whether nothing in the file confirms the encoding


@contextmanager
def open_text(path: Path, encoding: str | None = None) -> Iterator[OpenText]:
    """Open a file; `encoding` overrides what its start shows. Raises UnreadableFile.

    Reading the stream raises UnicodeDecodeError, which `undecodable` explains, and READ_ERRORS.
    """
    with _open_bytes(path) as stream:
        start = _read_start(path, stream)
        name = _find_encoding(path, start) if encoding is None else _find_codec(path, encoding)
        try:
            sample = codecs.getincrementaldecoder(name)().decode(start, final=len(start) < SAMPLE)
        except UnicodeDecodeError as error:
            raise undecodable(path, name) from error
        with io.TextIOWrapper(io.BufferedReader(_Again(start, stream), CHUNK), encoding=name, newline="") as text:
            yield OpenText(text, sample, len(start) < SAMPLE, name, encoding is None and name == GUESSED)


def undecodable(path: Path, encoding: str) -> UnreadableFile:
    """Return the error of a file that is not in this encoding, with the first line and byte that are wrong."""
    line, byte = _locate(path, encoding)
    where = f"line {line}: byte 0x{byte:02x}" if byte is not None else "it"
    if encoding.startswith("utf"):
        what = f"is not {_shown(encoding)} text: name the encoding of the file, for example --encoding {GUESSED}"
    else:
        what = f"is no character of {_shown(encoding)}: name the encoding of the file with --encoding"
    return UnreadableFile(str(path), f"{where} {what}")


def damaged(path: Path, error: Exception) -> UnreadableFile:
    """Return the error of a file that can't be read to its end."""
    return UnreadableFile(str(path), f"it is truncated or corrupt ({type(error).__name__})")


def encoding_note(text: OpenText) -> str | None:
    """Return what the report says of the encoding; None for UTF-8."""
    if text.encoding.startswith("utf-8"):
        return None
    if text.guessed:
        return "read as Windows-1252, since it is not UTF-8; if letters are wrong, name another --encoding"
    return f"read as {_shown(text.encoding)}"


class _Again(io.RawIOBase):
    """A stream whose start was read already, from its start."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start, self._rest = io.BytesIO(start), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        data = self._start.read(len(buffer)) or self._rest.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _open_bytes(path: Path) -> Iterator[IO[bytes]]:
    try:
        raw = path.open("rb")
    except OSError as error:
        raise UnreadableFile(str(path), (error.strerror or "it cannot be opened").lower()) from error
    with raw:
        is_gzip = raw.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
        if path.suffix.lower() == ".gz" and not is_gzip:
            raise UnreadableFile(str(path), "it is named .gz but is not gzip")
        if raw.peek(4).startswith(b"PK\x03\x04"):
            raise UnreadableFile(str(path), "it is a spreadsheet or ZIP file: save or unpack it as CSV first")
        yield gzip.GzipFile(fileobj=raw) if is_gzip else raw  # type: ignore[misc]  # typeshed: GzipFile is no IO[bytes]


def _read_start(path: Path, stream: IO[bytes]) -> bytes:
    start = bytearray()
    try:
        while len(start) < SAMPLE and (data := stream.read(min(CHUNK, SAMPLE - len(start)))):
            start += data
    except READ_ERRORS as error:
        raise damaged(path, error) from error
    return bytes(start)


def _find_codec(path: Path, encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)  # some codecs are not for text
    except LookupError:
        known = "utf-8, utf-16, windows-1252, windows-1250, iso-8859-15 or mac-roman"
        raise UnreadableFile(str(path), f"there is no encoding {encoding}; common ones are {known}") from None
    return "utf-8-sig" if name == "utf-8" else name


def _find_encoding(path: Path, start: bytes) -> str:
    for bom, name in BOMS:
        if start.startswith(bom):
            return name
    if zeros := start[:START].count(0):
        even = start[:START:2].count(0)
        if zeros * 4 > len(start[:START]):  # most characters of a header are ASCII
            return "utf-16-be" if even * 2 > zeros else "utf-16-le"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start, final=len(start) < SAMPLE)
    except UnicodeDecodeError as error:
        # A file with valid UTF-8 letters is UTF-8 with a wrong byte: as Windows-1252, all its letters would be wrong.
        # Unless they are few: a capital of Windows-1252 and the sign after it, as in `CAFÉ®`, can be valid by chance.
        text = start.decode("utf-8", "replace")
        wrong = text.count("\ufffd") - start.count("\ufffd".encode())
        if sum(char > "\x7f" and char != "\ufffd" for char in text) * BY_CHANCE > wrong:
            raise undecodable(path, "utf-8") from error
        return GUESSED
    return "utf-8"


def _locate(path: Path, encoding: str) -> tuple[int, int | None]:
    """Return the line and the value of the first byte that is invalid; None for it if the file can't be read again."""
    if not path.is_file():
        return 1, None
    decoder, line, last = codecs.getincrementaldecoder(encoding)(), 1, ""
    with _open_bytes(path) as stream:
        while data := stream.read(CHUNK):
            pending = decoder.getstate()[0]
            try:
                text = decoder.decode(data)
            except UnicodeDecodeError as error:
                line += _line_ends(last + (pending + data)[: error.start].decode(encoding, "ignore"))
                return line, error.object[error.start]
            line, last = line + _line_ends(last + text[:-1]), text[-1:]
    return line, None


def _line_ends(text: str) -> int:
    return text.count("\n") or text.count("\r")


def _shown(encoding: str) -> str:
    if encoding in ("cp1252", GUESSED):
        return "Windows-1252"
    return encoding.removesuffix("-sig").upper().replace("CP125", "Windows-125")
