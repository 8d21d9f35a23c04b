"""The hash by which an import recognises an order or cart that it has imported before."""

import json
from dataclasses import fields
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def content_hash(thing: "DataclassInstance") -> str:
    """Return the SHA-256 of an order's or cart's fields; fields that are None are left out."""
    content = {f.name: value for f in fields(thing) if (value := getattr(thing, f.name)) is not None}
    canonical = json.dumps(content, default=datetime.isoformat, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()
