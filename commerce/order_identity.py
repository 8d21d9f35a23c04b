"""How an order is identified: by its source together with the source's own id or name, and by our one id.

Our id is part of process ids, so it has only the characters of `ORDER_ID`. Orders of the default source keep the
source's own ids. The id of any other source is `SOURCE~ID`. No source uses `~` in its own ids, so two shops' ids never
meet.
"""

import re

DEFAULT_SOURCE = "shop"
ID_LENGTH = 100  # characters of the source's own id
OWN_ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{ID_LENGTH}}}")
SOURCE = re.compile(r"[A-Za-z0-9._-]{1,40}")
SEPARATOR = "~"
ORDER_ID_PATTERN = rf"^([A-Za-z0-9._-]{{1,40}}~)?[A-Za-z0-9._:-]{{1,{ID_LENGTH}}}$"


def order_id_of(source: str, own_id: str) -> str:
    """Return our id of an order from the source's own id, or from the order's name without `#`."""
    return own_id if source == DEFAULT_SOURCE else f"{source}{SEPARATOR}{own_id}"


def split_order_id(order_id: str, *, default_source: str) -> tuple[str, str]:
    """Return the source and the source's own id of `ID` or `SOURCE~ID`."""
    source, separator, own_id = order_id.rpartition(SEPARATOR)
    return (source, own_id) if separator else (default_source, own_id)


def name_key_of(name: str) -> str:
    """Return the part of a name that identifies the order: `#1001` and `1001` are the same order."""
    return name.removeprefix("#")
