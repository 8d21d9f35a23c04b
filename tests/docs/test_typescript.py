"""Compile and run the program of docs/typescript.md.

This needs node. npm installs the packages that the page names, once per machine and as tests/docs/node locks them.
"""

import asyncio
import json
import os
import shlex
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client

from tests.documents import blocks, broken_links, commands
from tests.keys import ENCRYPTION_ENV, KEY, OTHER_KEY, codec
from tests.locked_packages import node_modules
from tests.paths import ROOT
from tests.running_shop import RunningShop, running_shop
from tests.starter.connection.test_encrypted_runs import payloads

PAGE = ROOT / "docs" / "typescript.md"
LOCK = ROOT / "tests" / "docs" / "node"
INSTALL, COMPILE, START = "npm install ", "npx tsc ", "node "
DECODE = """
    const [{ data, ...metadata }, keys] = process.argv.slice(1).map((argument) => JSON.parse(argument));
    const bytes = (hex) => Buffer.from(hex, 'hex');
    const sealed = { data: bytes(data), metadata: {} };
    for (const [name, value] of Object.entries(metadata)) sealed.metadata[name] = bytes(value);
    const { Encryption } = require('./codec');
    new Encryption(keys).decode([sealed]).then(([clear]) => console.log(Buffer.from(clear.data).toString()));
"""


def command(kind: str) -> list[str]:
    """Return the only command on the page that starts with `kind`."""
    [found] = [line for line in commands(PAGE) if line.startswith(kind) and "--save-dev" not in line]
    return shlex.split(found)


@pytest.fixture(scope="module")
def program(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's program, compiled with the page's command."""
    folder = tmp_path_factory.mktemp("typescript")
    (folder / "node_modules").symlink_to(node_modules(run_folder, LOCK))
    for block in blocks(PAGE):
        if block.file:
            (folder / block.file).write_text(block.text)
    done = subprocess.run(command(COMPILE), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_lock_has_the_packages_of_the_page() -> None:
    locked = json.loads((LOCK / "package.json").read_text())
    assert set(locked["dependencies"]) == set(command(INSTALL)[2:])


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made, made.worker():
        await made.data.stock("MUG", main=3)
        yield made


async def run(
    program: Path, shop: RunningShop, order_id: str, environment: dict[str, str]
) -> tuple[int | None, str, str]:
    """Run the program with the page's command and return exit code, output and errors."""
    variables = {"TEMPORAL_ADDRESS": shop.client.service_client.config.target_host, "PATH": os.environ["PATH"]}
    node, file, _ = command(START)
    process = await asyncio.create_subprocess_exec(
        *(node, file, order_id),
        cwd=program,
        env=variables | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_an_order_is_fulfilled_and_nothing_is_stored_in_clear(program: Path, shop: RunningShop) -> None:
    await shop.data.order("1", MUG=2)
    code, out, err = await run(program, shop, "1", ENCRYPTION_ENV)
    assert (code, err) == (0, "")
    assert json.loads(out)["status"] == "fulfilled"
    history = await shop.handle("1").fetch_history()
    assert {payload.metadata["encoding"] for payload in payloads(history)} == {b"binary/encrypted"}
    assert json.loads(out) == (await shop.handle("1").result()).model_dump(mode="json")


async def test_the_reason_of_a_failed_order_is_printed(program: Path, shop: RunningShop) -> None:
    code, out, err = await run(program, shop, "1001", ENCRYPTION_ENV)
    assert (code, out, err) == (1, "", "Order 1001 does not exist.\n")


async def test_keys_are_read_from_a_file(program: Path, shop: RunningShop, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# newest first\n{KEY}\n\n{OTHER_KEY}\n")
    await shop.data.order("1", MUG=1)
    code, out, _ = await run(program, shop, "1", {"COMMERCE_ENCRYPTION_KEYS_FILE": str(tmp_path / "keys")})
    assert (code, json.loads(out)["order_id"]) == (0, "1")


async def test_the_codec_decrypts_payloads_of_the_worker_and_names_a_missing_key(program: Path) -> None:
    [sealed] = await codec(OTHER_KEY).encode([Payload(metadata={"encoding": b"json/plain"}, data=b'"Zo\xc3\xab"')])
    assert decoded(program, sealed, KEY, OTHER_KEY) == (0, '"Zoë"\n')
    code, said = decoded(program, sealed, KEY)
    assert code == 1 and f"Error: encryption key {codec(OTHER_KEY).key_ids[0]} is missing" in said


def decoded(program: Path, sealed: Payload, *known: str) -> tuple[int, str]:
    """Decrypt a payload with the page's codec and return node's exit code and output."""
    source = {"data": sealed.data.hex()} | {name: value.hex() for name, value in sealed.metadata.items()}
    asked = ["node", "-e", DECODE, json.dumps(source), json.dumps(known)]
    done = subprocess.run(asked, cwd=program, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_link_targets_exist() -> None:
    assert broken_links(PAGE) == []
