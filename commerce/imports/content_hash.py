"""The hash by which what another system hands over is known again."""

import json
from dataclasses import fields
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def content_hash(thing: "DataclassInstance") -> str:
    """Return what tells an order's or a cart's content from any other; what is not said has no part in it."""
    content = {f.name: value for f in fields(thing) if (value := getattr(thing, f.name)) is not None}
    plain = json.dumps(content, default=datetime.isoformat, sort_keys=True, separators=(",", ":"))
    return sha256(plain.encode()).hexdigest()
