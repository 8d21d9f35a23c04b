#!/usr/bin/env python3
"""Take from an installation what its programs do not read: debug information, and bytecode of unused modules.

It runs in the build of the image, with the Python of the installation. All modules stay: one without bytecode is
compiled each time a program imports it.
"""

import importlib
import pkgutil
import struct
import sys
import sysconfig
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path

OURS = ("activities", "commerce", "starter", "workflows")
# Endings of names: only Alembic can run the first, and the second start programs.
NOT_IMPORTED = ("commerce.migrations.env", ".__main__")
# What libraries import later: when they connect, print or serve.
LATER = ("anyio._backends._asyncio", "httpcore", "rich._emoji_codes", "typer.rich_utils", "uvicorn.lifespan.on")

ELF_64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
HEADER = 64  # bytes


def without_debug_information(library: bytes) -> bytes:
    """Return a shared library up to its last loaded byte; symbols for debuggers and the list of sections follow it.

    A library for other than 64-bit little-endian machines stays as it is.
    """
    if not library.startswith(ELF_64_LITTLE_ENDIAN):
        return library
    (table,) = struct.unpack_from("<Q", library, 32)
    size, count = struct.unpack_from("<HH", library, 54)
    ends = [HEADER, table + size * count]
    for segment in range(table, table + size * count, size):
        (offset,) = struct.unpack_from("<Q", library, segment + 8)
        (length,) = struct.unpack_from("<Q", library, segment + 32)
        ends.append(offset + length)
    loaded = bytearray(library[: max(ends)])
    struct.pack_into("<Q", loaded, 40, 0)  # where the list of sections starts
    struct.pack_into("<HH", loaded, 60, 0, 0)  # its length, and the section with their names
    return bytes(loaded)


def import_all() -> None:
    """Import our modules, and with them what they use; the embedded servers lack their packages here."""
    importlib.import_module("worker")
    for name in OURS:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith(NOT_IMPORTED):
                with suppress(ModuleNotFoundError):
                    importlib.import_module(module.name)
    for name in LATER:
        importlib.import_module(name)


def used_bytecode() -> set[Path]:
    """Return where the bytecode of all imported modules is."""
    sources = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return {Path(cache_from_source(source)) for source in sources if source and source.endswith(".py")}


def main() -> None:
    """Lighten the installation of the Python that runs this."""
    packages = Path(sysconfig.get_path("purelib"))
    for library in packages.rglob("*.so*"):
        library.write_bytes(without_debug_information(library.read_bytes()))
    import_all()
    used = used_bytecode()
    for bytecode in packages.rglob("*.pyc"):
        if bytecode not in used and bytecode.relative_to(packages).parts[0] not in OURS:
            bytecode.unlink()


if __name__ == "__main__":
    main()
