"""The warehouse's API as an OpenAPI document, for whoever connects a real warehouse.

    python -m starter.devstack.warehouse.openapi > docs/warehouse.openapi.json

updates the document.
"""

import json
import sys
from typing import Any

from fastapi.openapi.utils import get_openapi

from commerce.integrations.warehouse import (
    CALL_TIMEOUT,
    MAX_DELAY,
    MAX_LEVELS,
    MAX_PAGE_BYTES,
    MAX_PAGES,
    RETRY_DELAYS,
)
from starter.devstack.warehouse import picks
from starter.devstack.warehouse.server import api

DESCRIPTION = f"""The shop queries the stock of a warehouse and corrects its own stock accordingly.

The shop's setting `COMMERCE_WAREHOUSE_URL` is the root of this API. Credentials in that URL are sent as HTTP Basic.

- `as_of` makes a sync correct while goods move: the shop sets its stock to `on_hand` plus its own fulfillments and
  cancellations after `as_of`. Include every movement before `as_of` and none after it. Take the time before you read
  the levels, and wait for movements that are still being booked, or choose an `as_of` before them. A time in the future
  is refused.
- All pages of an answer should be of one reading, with the same `as_of`. The whole answer is refused if it has two
  different quantities for a SKU and location, a SKU that was not requested, or a token twice.
- A page has at most {MAX_PAGE_BYTES:,} bytes, an answer at most {MAX_PAGES} pages and {MAX_LEVELS:,} levels. All pages
  together must arrive within {CALL_TIMEOUT} s.
- 408, 425, 429, 5xx and broken connections are retried, at most {len(RETRY_DELAYS)} times per page and with at most
  {MAX_DELAY} s of delays per answer. `Retry-After` is respected in both its forms. Any other 4xx ends the sync at once.
- Fields that are not described here are ignored.

With `COMMERCE_FULFILLMENT=confirmed`, the shop also asks the warehouse to pick each order, and waits for its answer: a
`POST` to the `answer_url` of the pick, with a JSON body such as

    {{"id": "0199c2a4-7d1e-7c3a-9a55-0d4a6d6a3f10", "picked": [{{"sku": "MUG", "quantity": 2}}]}}

and the header `X-Warehouse-Signature`: the base64 of the HMAC-SHA256 of the raw body, with one of the shop's
`COMMERCE_WAREHOUSE_SECRETS` as the key. SKUs that are left out were not found.

- 200: the answer counts. Send the same answer again after 408, 425, 429, 5xx and broken connections; it counts once.
- 409: the pick has another answer, or nobody waits for it any more. Put its goods back.
- 401, 404, 422: the signature, the id or the body is wrong.
"""


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the API, without the routes that control the embedded warehouse."""
    return get_openapi(title="Warehouse", version="1", description=DESCRIPTION, routes=[*api.routes, *picks.api.routes])


def rendered() -> str:
    """Return the document as it is stored in the file."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(rendered())
