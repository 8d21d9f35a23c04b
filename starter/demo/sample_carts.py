"""The demo's carts as a file for `commerce import carts`: always the same, and all of them old."""

import csv
from datetime import timedelta
from pathlib import Path
from random import Random

from starter.demo.sample_goods import all_items, customers
from starter.demo.sample_orders import OPENING

SEED = 11
ABANDONED, COMPLETED = 40, 8  # carts
COLUMNS = (
    *("Id", "Email", "Created at", "Updated at", "Completed at", "Currency"),
    *("Lineitem quantity", "Lineitem sku", "Lineitem price"),
)


def write_sample_carts(folder: Path, currency: str) -> Path:
    """Write the file into an existing folder and return its path. Raises OSError."""
    random, file = Random(SEED), folder / "sample-carts.csv"  # noqa: S311 - not for security
    visitors, things = customers(random, ABANDONED + COMPLETED), all_items()
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        for number, visitor in enumerate(visitors, 1):
            at = f"{OPENING - timedelta(hours=7 * number):%Y-%m-%d %H:%M:%S} +0000"
            head = {"Email": visitor.email, "Created at": at, "Updated at": at, "Currency": currency}
            head |= {"Completed at": at} if number > ABANDONED else {}
            for item in random.sample(things, random.randint(1, 3)):
                line = {"Lineitem quantity": str(random.randint(1, 3)), "Lineitem sku": item.sku}
                writer.writerow({"Id": f"C{number}"} | head | line | {"Lineitem price": f"{item.price / 100:.2f}"})
                head = {}
    return file
