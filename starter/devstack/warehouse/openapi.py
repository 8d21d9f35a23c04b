"""The warehouse's API as an OpenAPI document: what a shop owner implements before their real warehouse.

    python -m starter.devstack.warehouse.openapi > docs/warehouse.openapi.json

writes it anew.
"""

import json
import sys
from typing import Any

from fastapi.openapi.utils import get_openapi

from commerce.integrations.warehouse import (
    CALL_TIMEOUT,
    MAX_LEVELS,
    MAX_PAGE_BYTES,
    MAX_PAGES,
    PATIENCE,
    PAUSES,
)
from starter.devstack.warehouse.server import api

DESCRIPTION = f"""The shop asks a warehouse what lies on its shelves, and corrects its own stock by the answers.

The shop's setting `COMMERCE_WAREHOUSE_URL` is the root of this API; credentials in that URL are sent as HTTP Basic.

- `as_of` is what makes a sync right while goods move: the shop sets its stock to `on_hand` plus what it fulfilled and
  cancelled after `as_of`. Count all that moved before it and nothing that moved after it; take it before you read the
  levels, and wait for, or stay behind, what is still being booked. A time in the future is refused.
- All pages of an answer should be of one reading, with the same `as_of`. A SKU and location that comes twice with
  different units, a SKU that was not asked for, a token that comes twice: the whole answer is refused.
- A page has at most {MAX_PAGE_BYTES:,} bytes, an answer at most {MAX_PAGES} pages and {MAX_LEVELS:,} levels. All pages
  together must come within {CALL_TIMEOUT} s.
- 408, 425, 429, 5xx and broken connections are tried again, a page {len(PAUSES)} times at most, an answer with at most
  {PATIENCE} s of waiting; `Retry-After` is honoured in both its forms. Any other 4xx ends the sync at once.
- Fields that are not described here are ignored.
"""


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the public API; the trial routes are the embedded warehouse's own."""
    return get_openapi(title="Warehouse", version="1", description=DESCRIPTION, routes=api.routes)


def written() -> str:
    """Return the document as it is kept in a file."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(written())
