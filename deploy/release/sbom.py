"""Complete the bill of materials that uv writes: the licence of each package, and nothing that differs between builds.

python deploy/release/sbom.py REQUIREMENTS.cdx.json       the bill of materials, to standard output
python deploy/release/sbom.py --licenses REQUIREMENTS…    docs/licenses.md
"""

import json
import re
import sys
from collections import defaultdict
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

# What packages call a licence, and its SPDX id.
SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
}
# Licences that allow an MIT program to be distributed with the package: permissive ones, and MPL for unchanged files.
FIT = {
    *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0", "Unlicense"),
    "MPL-2.0",  # certifi, a list of certificates: its files stay as they are
}
# Packages for other platforms, which are not installed where this runs.
ELSEWHERE = {"colorama": "BSD-3-Clause"}


def licence(name: str) -> str:
    """Return the SPDX expression of an installed package's licence; raise `ValueError` if it states none."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    found = metadata.metadata(name)
    classifiers = [line.split(" :: ")[-1] for line in found.get_all("Classifier") or [] if line.startswith("License")]
    for text in (found["License-Expression"], found["License"], *reversed(classifiers)):
        if text and "\n" not in text:
            return SPDX.get(text, text)
    raise ValueError(f"{name} states no licence")


def is_fit(expression: str) -> bool:
    """Return whether a licence, one of several (OR), or all of several (AND) are in `FIT`."""
    return any(
        all(part.strip(" ()") in FIT for part in re.split(r" AND ", choice)) for choice in re.split(r" OR ", expression)
    )


def complete(bill: dict[str, Any]) -> dict[str, Any]:
    """Add licences to a CycloneDX document, and replace its random id and time by an id of its content."""
    bill["metadata"].pop("timestamp", None)
    bill.pop("serialNumber", None)
    bill["metadata"]["component"]["licenses"] = [{"expression": "MIT"}]
    for component in bill["components"]:
        component["licenses"] = [{"expression": licence(component["name"])}]
    return {"serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, json.dumps(bill, sort_keys=True))}", **bill}


def page(names: set[str]) -> str:
    """Return docs/licenses.md for these packages."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        groups[licence(name)].append(name)
    rows = "\n".join(f"| {key} | {', '.join(groups[key])} |" for key in sorted(groups))
    return (
        "# Licences\n\n"
        "All packages that the shop installs, with the embedded servers of the extra `devstack`, and the licences\n"
        "that they state. All of them allow the shop, which has the MIT licence, to be used, changed and sold.\n"
        "`make release` writes the same into the bill of materials, with versions and hashes; `make licenses` updates\n"
        "this page.\n\n"
        f"| licence | packages |\n| --- | --- |\n{rows}\n"
    )


def main() -> None:
    """Read uv's document and print the completed one, or the page of licences."""
    bill = json.loads(Path(sys.argv[-1]).read_text())
    if "--licenses" in sys.argv:
        sys.stdout.write(page({component["name"] for component in bill["components"]}))
    else:
        sys.stdout.write(json.dumps(complete(bill), indent=2) + "\n")


if __name__ == "__main__":
    main()
