"""Clients that are generated from the OpenAPI document: their programs are type-checked and use a running API.

The programs and the locked generators are in `generated_clients`. Both programs do the same and print the same.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from starter.devstack.serving import serving
from tests.locked_packages import node_modules, python_environment
from tests.running_shop import RunningShop
from tests.starter.api.api_client import create_api, openapi_document

pytestmark = pytest.mark.waits(30)

CLIENTS = Path(__file__).parent / "generated_clients"
DOCUMENT = "openapi.json"
TOKEN = "a-token-that-is-long-enough"
TSC = ["--strict", "--noUncheckedIndexedAccess", "--target", "es2022", "--module", "nodenext", "--types", "node"]
EXPECTED = {
    "placed": ["taken", "known", "order-processing-c-1"],
    "pending": ["running", "order-processing-c-1"],
    "shown": ["completed", "completed", ["done"] * 6 + ["skipped"]],  # the order has no e-mail address
    "result": "fulfilled",
    "events": ["progress", "end"],
    "reconnected": True,
    "failed": ["CarrierRefused", "create-shipping-label"],
    "retried": ["retry", "completed"],
    "cancelled": ["cancel", "cancelled"],
    "registered": "ann@customer.example",
    "registered_again": "CustomerAlreadyExists",
    "unknown": "ProcessNotFound",
    "invalid": ["body.shipping_country"],
    "unauthorized": "Unauthorized",
}

Generate = Callable[[Path, Path], list[str]]


def checked(*command: str, folder: Path, path: Path | None = None) -> None:
    """Run a command in a folder, with the programs in `path`; it must succeed."""
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def generate_typescript(run_folder: Path, folder: Path) -> list[str]:
    """Generate the client into the folder, check its program, and return the command that runs it."""
    source = CLIENTS / "node"
    packages = node_modules(run_folder, source)
    (folder / "node_modules").symlink_to(packages)
    for name in ("package.json", "use_client.ts"):
        shutil.copy(source / name, folder)
    checked(str(packages / ".bin" / "openapi-typescript"), DOCUMENT, "--output", "api.d.ts", folder=folder)
    checked(str(packages / ".bin" / "tsc"), *TSC, "use_client.ts", folder=folder)
    return ["node", "use_client.js"]


def generate_python(run_folder: Path, folder: Path) -> list[str]:
    """Generate the client into the folder, check its program, and return the command that runs it."""
    source = CLIENTS / "python"
    programs = python_environment(run_folder, source)
    shutil.copy(source / "use_client.py", folder)
    options = ("--path", DOCUMENT, "--meta", "none", "--output-path", "shop_client", "--fail-on-warning")
    checked(str(programs / "openapi-python-client"), "generate", *options, folder=folder, path=programs)
    # `shop_client.client` is the same for every document, and not strictly typed.
    modules = ("-m", "use_client", "-p", "shop_client.models", "-p", "shop_client.api")
    checked(str(programs / "mypy"), "--strict", "--follow-imports=silent", *modules, folder=folder)
    return [str(programs / "python"), "use_client.py"]


@pytest.mark.programs
@pytest.mark.parametrize("generate", [generate_python, generate_typescript])
async def test_a_generated_client_can_do_everything(
    shop: RunningShop, run_folder: Path, tmp_path: Path, generate: Generate
) -> None:
    folder = tmp_path / "client"
    folder.mkdir()
    (folder / DOCUMENT).write_text(json.dumps(openapi_document()))
    command = await asyncio.to_thread(generate, run_folder, folder)
    await shop.inject_carrier_fault(operation="buy", fault="422", order_id="c-2", times=1)
    await shop.inject_carrier_fault(operation="buy", fault="500", order_id="c-3")
    async with shop.worker(), serving(create_api(shop, COMMERCE_API_TOKENS=TOKEN), 0) as url:
        process = await asyncio.create_subprocess_exec(
            *(*command, url, TOKEN), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    assert json.loads(out) == EXPECTED
    assert await shop.findings() == []
