"""The parts of the embedded stack: ports, data folder, servers, orphans, plan, keys."""

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from temporalio.client import Client

from commerce.errors import SettingsError
from commerce.settings import load_settings
from starter.connection.encryption import Encryption
from starter.devstack import data_folder, orphans, postgres, servers, supervisor, temporal
from starter.devstack.errors import UNREACHABLE, USAGE, StackError
from starter.devstack.plan import Plan
from starter.devstack.ports import SPARE, Ports
from starter.devstack.probes import http_is_ok
from starter.devstack.server_process import LOG_LIMIT, RESTART_SECONDS, ServerProcess, rotate
from starter.devstack.supervisor import Supervisor
from tests.keys import KEY, OTHER_KEY, codec

PRIVILEGED = 81  # a port below 1024, which is for root alone on most systems
bind = socket.socket.bind


@pytest.fixture
def taken() -> Iterator[int]:
    """A port in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    yield process
    process.kill()
    process.wait()


def bind_without_privileges(unbound: socket.socket, address: tuple[str, int]) -> None:
    """Refuse privileged ports, as most systems do unless root asks."""
    if address[1] < 1024:
        raise PermissionError(errno.EACCES, "Permission denied")
    bind(unbound, address)


def make_child(tmp_path: Path, code: str) -> ServerProcess:
    return ServerProcess("sample", "The sample", [sys.executable, "-c", code], {}, tmp_path / "sample.log")


def write_passwords(data_dir: Path) -> None:
    for role in (postgres.SUPERUSER, postgres.MIGRATOR, postgres.APPLICATION):
        (data_dir / f"{role}.password").write_text("secret")


def quiet(_line: str) -> None:
    """Print nothing."""


async def never() -> str | None:
    return "not yet"


async def until_it_says(child: ServerProcess, line: str) -> None:
    async with asyncio.timeout(30):
        while child.last_line() != line:  # noqa: ASYNC110 - a file sets no event
            await asyncio.sleep(0.02)


class TestPorts:
    def test_a_port_in_use_is_replaced_and_reported(self, tmp_path: Path, taken: int) -> None:
        said: list[str] = []
        port = Ports(tmp_path / "ports.json", said.append).choose("temporal", "Temporal", taken)
        assert port in SPARE
        assert said == [f"Port {taken} is in use; Temporal listens on {port}"]

    def test_a_privileged_port_is_replaced_and_reported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(socket.socket, "bind", bind_without_privileges)
        said: list[str] = []
        port = Ports(tmp_path / "ports.json", said.append).choose("api", "The API", PRIVILEGED)
        assert said == [f"Port {PRIVILEGED} needs more privileges; The API listens on {port}"]

    def test_the_replacement_of_a_port_stays_the_same_until_the_port_is_free_again(self, tmp_path: Path) -> None:
        said: list[str] = []
        with socket.create_server(("127.0.0.1", 0)) as server:
            wanted = server.getsockname()[1]
            first = Ports(tmp_path / "ports.json", said.append).choose("api", "The API", wanted)
            assert Ports(tmp_path / "ports.json", said.append).choose("api", "The API", wanted) == first
        assert said == [f"Port {wanted} is in use; The API listens on {first}"] * 2
        assert Ports(tmp_path / "ports.json", said.append).choose("api", "The API", wanted) == wanted
        assert len(said) == 2

    def test_any_port_stays_the_same(self, tmp_path: Path) -> None:
        first = Ports(tmp_path / "ports.json", quiet).choose("api", "The API", 0)
        assert Ports(tmp_path / "ports.json", quiet).choose("api", "The API", 0) == first

    def test_a_newly_wanted_port_wins_over_the_stored_one(self, tmp_path: Path) -> None:
        first = Ports(tmp_path / "ports.json", quiet).choose("api", "The API", 0)
        other = Ports(tmp_path / "ports.json", quiet).choose("api", "The API", first + 1)
        assert other == first + 1

    def test_two_servers_never_share_a_port(self, tmp_path: Path) -> None:
        ports = Ports(tmp_path / "ports.json", quiet)
        first = ports.choose("mail", "Mail", 0)
        assert ports.choose("carrier", "The carrier", first) != first


class TestFolder:
    @pytest.mark.parametrize("content", [(), ("up.lock", "stack.json")], ids=["empty", "used"])
    def test_one_that_others_could_read_becomes_private(self, tmp_path: Path, content: Sequence[str]) -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        folder.chmod(0o777)
        for name in content:
            (folder / name).touch()
        data_folder.create(folder)
        assert folder.stat().st_mode & 0o777 == 0o700

    def test_one_with_other_files_keeps_its_permissions(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        (tmp_path / "letter").touch()
        data_folder.create(tmp_path)
        assert tmp_path.stat().st_mode & 0o777 == 0o755
        tmp_path.chmod(0o775)
        with pytest.raises(StackError, match=r"Other users can write to the data folder .*: choose another"):
            data_folder.create(tmp_path)

    def test_that_of_another_user_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(data_folder.os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(StackError, match=r"The data folder .* belongs to another user: choose another"):
            data_folder.create(tmp_path)

    def test_only_one_process_can_lock_it(self, tmp_path: Path) -> None:
        refused = pytest.raises(StackError, match="already running")
        with data_folder.locked(tmp_path), refused, data_folder.locked(tmp_path):
            pass
        with data_folder.locked(tmp_path):
            pass


async def always_ready() -> None:
    """Probe a server that needs no time to start."""


class TestServers:
    async def test_a_server_that_keeps_dying_before_it_is_ready_fails_the_start(self, tmp_path: Path) -> None:
        said: list[str] = []
        family = Supervisor(tmp_path, said.append, lambda: None)
        child = make_child(tmp_path, "import sys; sys.exit('no such file\\n')")
        with pytest.raises(StackError, match="The sample ended with exit code 1: no such file"):
            await family.start(child, never)
        await family.stop([["sample"]])
        assert "Restarting in 0.2 s" in said[0]
        assert not child.alive

    async def test_a_wrong_setting_is_not_retried(self, tmp_path: Path) -> None:
        family = Supervisor(tmp_path, quiet, lambda: None)
        with pytest.raises(StackError) as refused:
            await family.start(make_child(tmp_path, f"import os; os._exit({USAGE})"), never)
        await family.stop([["sample"]])
        assert refused.value.code == USAGE

    async def test_an_unreachable_server_is_reported(self, tmp_path: Path) -> None:
        family = Supervisor(tmp_path, quiet, lambda: None)
        with pytest.raises(StackError) as refused:
            await family.start(make_child(tmp_path, f"import os; os._exit({UNREACHABLE})"), never)
        await family.stop([["sample"]])
        assert refused.value.code == UNREACHABLE

    async def test_a_server_that_does_not_stop_in_time_is_killed(self, tmp_path: Path) -> None:
        child = make_child(
            tmp_path,
            "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)",
        )
        child.grace = 0.2
        child.start()
        await until_it_says(child, "deaf")
        await child.stop()
        assert child.code == -9

    def test_restart_delays_grow_while_it_keeps_dying_and_reset_after_a_healthy_run(self, tmp_path: Path) -> None:
        child = make_child(tmp_path, "")
        child.created = time.time()
        assert [child.restart_delay() for _ in range(7)] == [*RESTART_SECONDS, RESTART_SECONDS[-1]]
        child.created = time.time() - 3600
        assert child.restart_delay() == RESTART_SECONDS[0]

    async def test_a_killed_server_is_reported_without_its_last_line(self, tmp_path: Path) -> None:
        child = make_child(tmp_path, "import time; print('all is well', flush=True); time.sleep(60)")
        child.start()
        await until_it_says(child, "all is well")
        child.kill()
        await child.ended()
        assert child.death() == "The sample was killed by SIGKILL"

    async def test_only_lines_since_its_start_are_reported(self, tmp_path: Path) -> None:
        child = make_child(tmp_path, "import time; time.sleep(300)")
        child.log.write_text("of an earlier run\n")
        child.start()
        assert child.last_line() == ""
        await child.stop()

    async def test_a_large_log_is_rotated_while_the_server_writes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(supervisor, "ROTATE_SECONDS", 0.05)
        chatty = "import time\nwhile True:\n    print('x' * 1_000_000, flush=True)\n    time.sleep(0.02)"
        child = make_child(tmp_path, chatty)
        family = Supervisor(tmp_path, lambda _: None, lambda: None)
        await family.start(child, always_ready)
        old = child.log.with_name(f"{child.log.name}.1")
        deadline = time.monotonic() + 60
        while not (old.exists() and 0 < child.log.stat().st_size < LOG_LIMIT):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert child.last_line().startswith("x")
        await family.stop([[child.name]])
        assert LOG_LIMIT < old.stat().st_size < 2 * LOG_LIMIT
        assert b"\0" not in child.log.read_bytes()

    def test_a_large_log_is_rotated(self, tmp_path: Path) -> None:
        log = tmp_path / "worker.log"
        log.write_bytes(b"x" * (LOG_LIMIT + 1))
        rotate(log)
        assert not log.exists()
        assert (tmp_path / "worker.log.1").stat().st_size == LOG_LIMIT + 1


class TestOrphans:
    def test_a_recorded_process_is_terminated(self, tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
        created = psutil.Process(sleeper.pid).create_time()
        self.write(tmp_path, sleeper.pid, created)
        assert orphans.terminate(tmp_path) == 1
        assert sleeper.wait(timeout=10) < 0
        assert not (tmp_path / "pids.json").exists()

    def test_a_reused_process_id_is_left_alone(self, tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
        self.write(tmp_path, sleeper.pid, psutil.Process(sleeper.pid).create_time() - 60)
        assert orphans.terminate(tmp_path) == 0
        assert sleeper.poll() is None

    def test_a_stale_lock_file_of_postgresql_is_deleted(self, tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
        (tmp_path / "postgres").mkdir()
        (tmp_path / "postgres" / "postmaster.pid").write_text(f"{sleeper.pid}\n")
        assert orphans.terminate(tmp_path) == 0
        assert sleeper.poll() is None
        assert not (tmp_path / "postgres" / "postmaster.pid").exists()

    @staticmethod
    def write(data_dir: Path, pid: int, created: float) -> None:
        (data_dir / "pids.json").write_text(json.dumps({"worker": {"pid": pid, "created": created}}))


class TestPlan:
    def make(self, tmp_path: Path, own: dict[str, str]) -> tuple[Plan, list[str]]:
        said: list[str] = []
        write_passwords(tmp_path)
        return Plan.make(tmp_path, own, 0, said.append), said

    def test_programs_get_the_addresses_of_the_embedded_servers(self, tmp_path: Path) -> None:
        plan, said = self.make(tmp_path, {})
        environment = plan.describe({"worker": 7})["environment"]
        assert environment["COMMERCE_CARRIER_URL"] == f"http://127.0.0.1:{plan.ports['carrier']}/v2"
        assert environment["COMMERCE_SMTP_URL"] == f"smtp://127.0.0.1:{plan.ports['mail']}"
        assert environment["COMMERCE_ADMIN_EMAILS"] == "admin@shop.example"
        assert environment["TEMPORAL_ADDRESS"] == f"127.0.0.1:{plan.ports['temporal']}"
        assert plan.describe({"worker": 7})["worker_pid"] == 7
        assert said == []

    def test_only_the_stacks_own_worker_gets_the_metrics_port(self, tmp_path: Path) -> None:
        (tmp_path / "logs").mkdir()
        plan, _ = self.make(tmp_path, {})
        address = f"127.0.0.1:{plan.ports['metrics']}"
        assert servers.make_worker(plan).environment["COMMERCE_METRICS_ADDRESS"] == address
        assert "COMMERCE_METRICS_ADDRESS" not in plan.environment()
        assert plan.describe({"worker": 7})["metrics_url"] == f"http://{address}/metrics"
        assert plan.describe({})["metrics_url"] is None

    def test_the_user_can_choose_the_metrics_address(self, tmp_path: Path) -> None:
        plan, _ = self.make(tmp_path, {"COMMERCE_METRICS_ADDRESS": "127.0.0.1:9999"})
        assert plan.describe({"worker": 7})["metrics_url"] == "http://127.0.0.1:9999/metrics"

    def test_there_is_a_payment_provider_only_for_a_shop_that_uses_one(self, tmp_path: Path) -> None:
        (tmp_path / "logs").mkdir()
        assert "payments" not in self.make(tmp_path, {})[0].ports
        plan, _ = self.make(tmp_path, {"COMMERCE_PAYMENTS": "stripe"})
        assert plan.environment()["COMMERCE_PAYMENTS_URL"] == f"http://127.0.0.1:{plan.ports['payments']}/v1"
        assert "payments" in {child.name for child in servers.make_stand_ins(plan)}
        url = {"COMMERCE_PAYMENTS_URL": "https://api.stripe.com/v1"}
        assert "payments" not in self.make(tmp_path, {"COMMERCE_PAYMENTS": "stripe", **url})[0].ports

    def test_a_setting_replaces_an_embedded_server(self, tmp_path: Path) -> None:
        own = {
            "COMMERCE_CARRIER_URL": "https://carrier.example/v2",
            "COMMERCE_SMTP_URL": "smtp://mail.example",
            "COMMERCE_WAREHOUSE_URL": "https://warehouse.example",
        }
        plan, _ = self.make(tmp_path, own)
        assert servers.make_stand_ins(plan) == []
        assert own.items() <= plan.environment().items()
        assert plan.describe({})["carrier_url"] == "https://carrier.example/v2"
        assert plan.describe({})["warehouse_url"] == "https://warehouse.example"

    def test_another_database_or_temporal_is_ignored_with_a_message(self, tmp_path: Path) -> None:
        own = {"COMMERCE_DATABASE_URL": "postgresql://db.example/shop", "TEMPORAL_ADDRESS": "temporal.example:7233"}
        plan, said = self.make(tmp_path, own)
        assert not own.items() & plan.environment().items()
        assert [line.partition(" ")[0] for line in said] == ["COMMERCE_DATABASE_URL", "TEMPORAL_ADDRESS"]

    def test_the_users_temporal_variables_do_not_reach_the_servers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TEMPORAL_API_KEY", "theirs")
        plan, _ = self.make(tmp_path, {})
        assert "TEMPORAL_API_KEY" not in servers.make_worker(plan).environment

    def test_programs_connect_as_the_application_and_only_commands_can_migrate(self, tmp_path: Path) -> None:
        plan, _ = self.make(tmp_path, {})
        (tmp_path / "logs").mkdir()
        for child in (servers.make_worker(plan), servers.make_api(plan), *servers.make_stand_ins(plan)):
            assert child.environment["COMMERCE_DATABASE_URL"].startswith("postgresql://commerce:")
            assert "COMMERCE_MIGRATION_DATABASE_URL" not in child.environment
        for_commands = plan.describe({})["environment"]
        assert for_commands["COMMERCE_MIGRATION_DATABASE_URL"].startswith("postgresql://commerce_migrator:")


class TestKeys:
    def environment(self, data_dir: Path, **own: str) -> dict[str, str]:
        """Return the environment of programs in a stack started with these encryption variables."""
        write_passwords(data_dir)
        variables = {f"COMMERCE_ENCRYPTION{name}": value for name, value in own.items()}
        return Plan.make(data_dir, variables, 0, quiet).environment()

    def codec(self, data_dir: Path, **own: str) -> Encryption:
        return Encryption.from_settings(load_settings(self.environment(data_dir, **own)))

    def test_a_key_is_generated_once_and_readable_only_by_its_owner(self, tmp_path: Path) -> None:
        first = self.codec(tmp_path)
        assert len(first.key_ids) == 1 and first.encrypts
        assert self.codec(tmp_path).key_ids == first.key_ids
        assert (tmp_path / "encryption.keys").stat().st_mode & 0o777 == 0o600

    def test_the_users_keys_come_first_and_none_is_lost(self, tmp_path: Path) -> None:
        made = self.codec(tmp_path).key_ids
        theirs = codec(OTHER_KEY, KEY).key_ids
        assert self.codec(tmp_path, _KEYS=f"{OTHER_KEY},{KEY}").key_ids == (*theirs, *made)
        assert self.codec(tmp_path).key_ids == (*theirs, *made)
        assert self.codec(tmp_path, _KEYS=KEY).key_ids == (theirs[1], theirs[0], *made)

    def test_programs_get_keys_only_as_a_file(self, tmp_path: Path) -> None:
        told = self.environment(tmp_path, _KEYS=KEY)
        assert told["COMMERCE_ENCRYPTION_KEYS_FILE"] == str(tmp_path / "encryption.keys")
        assert KEY not in str(told) and told["COMMERCE_ENCRYPTION_KEYS"] == ""

    def test_the_users_key_file_is_used_in_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "own.keys").write_text(KEY)
        monkeypatch.chdir(tmp_path)
        told = self.environment(tmp_path, _KEYS_FILE="own.keys")
        assert told["COMMERCE_ENCRYPTION_KEYS_FILE"] == str(tmp_path / "own.keys")
        assert not (tmp_path / "encryption.keys").exists()

    def test_encryption_off_is_passed_on_and_older_runs_stay_readable(self, tmp_path: Path) -> None:
        made = self.codec(tmp_path).key_ids
        off = self.codec(tmp_path, **{"": "off"})
        assert not off.encrypts and off.key_ids == made

    def test_an_invalid_key_stops_the_start_and_is_not_stored(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"^COMMERCE_ENCRYPTION_KEYS: key 1 is not base64 of 32 bytes"):
            self.environment(tmp_path, _KEYS="hunter2")
        assert not (tmp_path / "encryption.keys").exists()

    def test_settings_may_need_the_keys_that_the_stack_makes(self, tmp_path: Path) -> None:
        write_passwords(tmp_path)
        needing = {"COMMERCE_FULFILLMENT": "confirmed", "COMMERCE_CONFIRM_ADDRESS": "on", "COMMERCE_LINK_KEYS": ""}
        told = Plan.make(tmp_path, needing, 0, quiet).environment()
        settings = load_settings(told | needing)
        assert settings.warehouse_secrets and settings.link_keys

    def test_temporals_ui_gets_the_codec_endpoint(self, tmp_path: Path) -> None:
        write_passwords(tmp_path)
        (tmp_path / "logs").mkdir()
        plan = Plan.make(tmp_path, {}, 0, quiet)
        assert f"{plan.api_url}/codec/default" in servers.make_temporal(plan).command
        told = servers.make_api(plan).environment
        assert told["COMMERCE_TEMPORAL_UI_URL"] == plan.describe({})["temporal_ui"]

    @pytest.mark.parametrize(("given", "expected"), [({}, "400"), ({"GOGC": "50"}, "50")])
    def test_temporal_collects_garbage_less_often_unless_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: str
    ) -> None:
        monkeypatch.delenv("GOGC", raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        write_passwords(tmp_path)
        (tmp_path / "logs").mkdir()
        assert servers.make_temporal(Plan.make(tmp_path, {}, 0, quiet)).environment["GOGC"] == expected


async def test_a_probe_reports_a_closed_port() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert "failed" in str(await http_is_ok(closed.getsockname()[1], "/health/live"))


async def test_configuring_the_namespace_twice_is_harmless(temporal_server: str) -> None:
    client = await Client.connect(temporal_server)
    await temporal.prepare(client)
    await temporal.prepare(client)
