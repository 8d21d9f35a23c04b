"""Plan an embedded stack: ports, addresses, and the environment of its programs."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commerce.messages.payments import AT_SHOP
from commerce.settings import MIN_KEY_LENGTH, PREFIX, load_settings
from starter.connection.encryption_keys import ENCRYPTION_VARIABLE, KEYS_FILE_VARIABLE, KEYS_VARIABLE
from starter.devstack import key_file, postgres, temporal
from starter.devstack.ports import LOOPBACK, Ports

USUAL_PORTS = {
    "postgres": 15432,
    "temporal": 7233,
    "temporal-ui": 8233,
    "mail": 1025,
    "carrier": 9010,
    "warehouse": 9020,
    "payments": 9030,
    "metrics": 9464,
}
LABELS = {
    "postgres": "PostgreSQL",
    "temporal": "Temporal",
    "temporal-ui": "Temporal's UI",
    "mail": "The mail catcher",
    "carrier": "The carrier",
    "warehouse": "The warehouse",
    "payments": "The payment provider",
    "metrics": "The worker's metrics",
    "worker": "The worker",
    "api": "The API",
}
SMTP_URL, CARRIER_URL, WAREHOUSE_URL = f"{PREFIX}SMTP_URL", f"{PREFIX}CARRIER_URL", f"{PREFIX}WAREHOUSE_URL"
DATABASE_URL, MIGRATION_DATABASE_URL = f"{PREFIX}DATABASE_URL", f"{PREFIX}MIGRATION_DATABASE_URL"
DIRECT_DATABASE_URL = f"{PREFIX}DIRECT_DATABASE_URL"
METRICS_ADDRESS = f"{PREFIX}METRICS_ADDRESS"
LINK_URL = f"{PREFIX}LINK_URL"
CONSOLE_URL = f"{PREFIX}CONSOLE_URL"
OWN_KEYS = {
    f"{PREFIX}LINK_KEYS": key_file.LINKS_FILE,
    f"{PREFIX}ADDRESS_KEYS": key_file.ADDRESSES_FILE,
    f"{PREFIX}WAREHOUSE_SECRETS": key_file.WAREHOUSE_FILE,
}
PAYMENTS_URL, PAYMENTS_API_KEY = f"{PREFIX}PAYMENTS_URL", f"{PREFIX}PAYMENTS_API_KEY"
REPLACEABLE = {
    SMTP_URL: "mail",
    CARRIER_URL: "carrier",
    WAREHOUSE_URL: "warehouse",
    PAYMENTS_URL: "payments",
    METRICS_ADDRESS: "metrics",
}
IGNORED = (DATABASE_URL, DIRECT_DATABASE_URL, MIGRATION_DATABASE_URL, "TEMPORAL_ADDRESS")
ADMIN = "admin@shop.example"


@dataclass(frozen=True)
class Plan:
    """The decisions about one stack: they follow from its folder, its ports and the environment."""

    data_dir: Path
    given: Mapping[str, str]  # the environment of `commerce up`, including `.env`
    ports: Mapping[str, int]
    keys_file: Path
    own: Mapping[str, str]  # variables that this stack sets besides

    @classmethod
    def make(
        cls,
        data_dir: Path,
        given: Mapping[str, str],
        api_port: int,
        echo: Callable[[str], None],
        defaults: Mapping[str, str] | None = None,
    ) -> "Plan":
        """Choose ports and keys; an `api_port` of 0 means any free port for all servers.

        `defaults`: variables for the programs of this stack, unless they are given.

        Raises StackError, SettingsError.
        """
        own_keys = {name: "k" * MIN_KEY_LENGTH for name in OWN_KEYS if not given.get(f"{name}_FILE")}  # made below
        usable = {name: each for name, each in given.items() if each and name not in IGNORED}
        settings = load_settings(own_keys | usable)
        for name in IGNORED:
            if given.get(name):
                echo(f"{name} is ignored: this stack has its own")
        ports = Ports(data_dir / "ports.json", echo)
        replaced = {name for variable, name in REPLACEABLE.items() if given.get(variable)}
        if settings.payments == AT_SHOP:  # nothing would call it
            replaced.add("payments")
        usual = USUAL_PORTS if api_port else dict.fromkeys(USUAL_PORTS, 0)
        wanted = {name: port for name, port in (usual | {"api": api_port}).items() if name not in replaced}
        chosen = {name: ports.choose(name, LABELS[name], port) for name, port in wanted.items()}
        key_file.prepare_own(data_dir)
        own = {name: given.get(name) or value for name, value in (defaults or {}).items()}
        return cls(data_dir, given, chosen, key_file.prepare(data_dir, settings), own)

    @property
    def api_url(self) -> str:
        """The root URL of the API."""
        return f"http://{LOOPBACK}:{self.ports['api']}"

    @property
    def temporal_ui(self) -> str:
        """The root URL of Temporal's UI."""
        return f"http://{LOOPBACK}:{self.ports['temporal-ui']}"

    @property
    def temporal_address(self) -> str:
        """Host and port of Temporal."""
        return f"{LOOPBACK}:{self.ports['temporal']}"

    @property
    def metrics_address(self) -> str:
        """Host and port where the worker of this stack serves its metrics; only that worker may use it."""
        return self.given.get(METRICS_ADDRESS) or f"{LOOPBACK}:{self.ports['metrics']}"

    def database_url(self, role: str = postgres.APPLICATION) -> str:
        """The URL of the database for a role, including its password; the cluster must exist."""
        return postgres.url(self.data_dir, self.ports["postgres"], role=role)

    def environment(self) -> dict[str, str]:
        """Every variable that a program of the shop needs to use this stack."""
        return {
            f"{PREFIX}DATA_DIR": str(self.data_dir),
            DATABASE_URL: self.database_url(),
            SMTP_URL: self.given.get(SMTP_URL) or f"smtp://{LOOPBACK}:{self.ports['mail']}",
            CARRIER_URL: self.given.get(CARRIER_URL) or f"{self._carrier_root()}/v2",
            WAREHOUSE_URL: self.given.get(WAREHOUSE_URL) or f"http://{LOOPBACK}:{self.ports['warehouse']}",
            **self._payments(),
            f"{PREFIX}ADMIN_EMAILS": self.given.get(f"{PREFIX}ADMIN_EMAILS") or ADMIN,
            ENCRYPTION_VARIABLE: self.given.get(ENCRYPTION_VARIABLE) or "on",
            KEYS_FILE_VARIABLE: str(self.keys_file),
            # The key file contains the keys of this variable too; the variable would hide the others in the file.
            **({KEYS_VARIABLE: ""} if self.given.get(KEYS_VARIABLE) else {}),
            **self.own,
            LINK_URL: self.given.get(LINK_URL) or self.api_url,
            CONSOLE_URL: self.given.get(CONSOLE_URL) or f"{self.api_url}/console",
            **self._key_files(),
            f"{PREFIX}TEMPORAL_UI_URL": self.temporal_ui,
            "TEMPORAL_ADDRESS": self.temporal_address,
            "TEMPORAL_NAMESPACE": temporal.NAMESPACE,
            "TEMPORAL_CONFIG_FILE": os.devnull,  # a developer's own profile may ask for TLS or a key
        }

    def describe(self, pids: Mapping[str, int | None]) -> dict[str, Any]:
        """Return the content of `stack.json`."""
        environment = self.environment()
        return {
            "database_url": environment[DATABASE_URL],
            "superuser_url": postgres.superuser_url(self.data_dir, self.ports["postgres"]),  # for backups
            "temporal_address": self.temporal_address,
            "temporal_ui": self.temporal_ui,
            "api_url": self.api_url,
            "console_url": environment[CONSOLE_URL],
            "metrics_url": f"http://{self.metrics_address}/metrics" if pids.get("worker") else None,
            "smtp_url": environment[SMTP_URL],
            "carrier_url": self._carrier_root() if "carrier" in self.ports else environment[CARRIER_URL],
            "warehouse_url": environment[WAREHOUSE_URL],
            "mail_dir": str(self.data_dir / "mail"),
            "worker_pid": pids.get("worker"),
            "postgres_pid": pids.get("postgres"),
            "temporal_pid": pids.get("temporal"),
            "environment": environment | {MIGRATION_DATABASE_URL: self.database_url(postgres.MIGRATOR)},
        }

    def _payments(self) -> dict[str, str]:
        """Return what programs need to use the embedded payment provider, if there is one. It accepts any key."""
        if "payments" not in self.ports:
            return {}
        url = f"http://{LOOPBACK}:{self.ports['payments']}/v1"
        return {PAYMENTS_URL: url, PAYMENTS_API_KEY: self.given.get(PAYMENTS_API_KEY) or "test"}

    def _key_files(self) -> dict[str, str]:
        """Return the files of keys that are not given."""
        return {
            f"{name}_FILE": self.given.get(f"{name}_FILE") or str(self.data_dir / file)
            for name, file in OWN_KEYS.items()
            if not self.given.get(name)
        }

    def _carrier_root(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['carrier']}"
