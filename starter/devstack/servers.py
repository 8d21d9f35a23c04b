"""The servers of a planned stack as child processes: how each is run and stopped."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import starter
from commerce.settings import PREFIX
from starter.devstack import postgres, temporal
from starter.devstack.plan import LABELS, METRICS_ADDRESS, Plan
from starter.devstack.ports import LOOPBACK
from starter.devstack.server_process import ServerProcess, rotate

WORKER_GRACE = 30.0  # seconds; it ends by itself after 28
CODE = Path(starter.__file__).parent.parent
# In this order they are stopped: first those that need the others.
STOP_ORDER = (("api",), ("worker",), ("mail", "carrier", "warehouse"), ("temporal",), ("postgres",))


def make_postgres(plan: Plan) -> ServerProcess:
    """PostgreSQL; SIGINT stops it fast and with all data."""
    child = _child(plan, "postgres", postgres.command(plan.data_dir, plan.ports["postgres"]), os.environ)
    child.stop_signal = signal.SIGINT
    return child


def make_temporal(plan: Plan) -> ServerProcess:
    """Temporal's dev server and its UI."""
    codec = f"{plan.api_url}/codec/{temporal.NAMESPACE}"
    command = temporal.command(plan.data_dir, plan.ports["temporal"], plan.ports["temporal-ui"], codec)
    return _child(plan, "temporal", command, os.environ)


def make_outside(plan: Plan) -> list[ServerProcess]:
    """What stands for the world outside: mail catcher, carrier and warehouse, unless a setting replaces them."""
    folders = {
        "mail": ("--mail-dir", plan.data_dir / "mail"),
        "carrier": ("--data-dir", plan.data_dir / "carrier"),
        "warehouse": ("--data-dir", plan.data_dir / "warehouse"),
    }
    return [
        _python(plan, name, f"starter.devstack.{name}", option, str(folder), "--port", str(plan.ports[name]))
        for name, (option, folder) in folders.items()
        if name in plan.ports
    ]


def make_worker(plan: Plan) -> ServerProcess:
    """The worker; it may take long to stop, as it finishes the steps at work."""
    child = _python(plan, "worker", "worker", **{METRICS_ADDRESS: plan.metrics_address})
    child.grace = WORKER_GRACE
    return child


def make_api(plan: Plan) -> ServerProcess:
    """The API, on loopback."""
    return _python(
        plan, "api", "starter.api", **{f"{PREFIX}API_HOST": LOOPBACK, f"{PREFIX}API_PORT": str(plan.ports["api"])}
    )


def _python(plan: Plan, name: str, module: str, *arguments: str, **variables: str) -> ServerProcess:
    """Run a module of this same installation, whatever else lies in the current folder."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TEMPORAL_")}
    path = os.pathsep.join(filter(None, [str(CODE), os.environ.get("PYTHONPATH")]))
    environment = inherited | plan.environment() | {"PYTHONPATH": path} | variables
    return _child(plan, name, [sys.executable, "-u", "-P", "-m", module, *arguments], environment)


def _child(plan: Plan, name: str, command: list[str], environment: Mapping[str, str]) -> ServerProcess:
    log = plan.data_dir / "logs" / f"{name}.log"
    rotate(log)
    return ServerProcess(name, LABELS[name], command, environment, log)
