"""Fixtures: imports of made-up order exports."""

from pathlib import Path
from typing import Any

import pytest

from commerce.database import Database
from commerce.imports import ImportReport
from tests.commerce.imports.order_files import Import, import_rows


@pytest.fixture
def load(database: Database, tmp_path: Path) -> Import:
    """Return a function that imports rows of an order export."""

    async def load(*rows: dict[str, str], **options: Any) -> ImportReport:
        return await import_rows(database, tmp_path, *rows, **options)

    return load
