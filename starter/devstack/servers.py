"""How each server of a planned stack is run and stopped."""

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

WORKER_GRACE = 30.0  # seconds; the worker exits by itself after 28
# Go's garbage collector runs when the heap has grown fivefold, not twofold: a tenth less CPU time for each order.
TEMPORAL_VARIABLES = {"GOGC": "400"}
CODE = Path(starter.__file__).parent.parent
# The order of stopping: dependents before what they depend on.
STOP_ORDER = (("api",), ("worker",), ("mail", "carrier", "warehouse", "payments"), ("temporal",), ("postgres",))


def make_postgres(plan: Plan) -> ServerProcess:
    """Return PostgreSQL. SIGINT stops it fast without losing data."""
    child = _child(plan, "postgres", postgres.command(plan.data_dir, plan.ports["postgres"]), os.environ)
    child.stop_signal = signal.SIGINT
    return child


def make_temporal(plan: Plan) -> ServerProcess:
    """Return Temporal's dev server with its UI."""
    codec = f"{plan.api_url}/codec/{temporal.NAMESPACE}"
    command = temporal.command(plan.data_dir, plan.ports["temporal"], plan.ports["temporal-ui"], codec)
    return _child(plan, "temporal", command, TEMPORAL_VARIABLES | os.environ)


def make_stand_ins(plan: Plan) -> list[ServerProcess]:
    """Return the stand-ins for external services: mail catcher, carrier, warehouse, unless a setting replaces one.

    There is a payment provider as well if COMMERCE_PAYMENTS names one.
    """
    folders = {
        "mail": ("--mail-dir", plan.data_dir / "mail"),
        "carrier": ("--data-dir", plan.data_dir / "carrier"),
        "warehouse": ("--data-dir", plan.data_dir / "warehouse"),
        "payments": ("--data-dir", plan.data_dir / "payments"),
    }
    return [
        _python(plan, name, f"starter.devstack.{name}", option, str(folder), "--port", str(plan.ports[name]))
        for name, (option, folder) in folders.items()
        if name in plan.ports
    ]


def make_worker(plan: Plan) -> ServerProcess:
    """Return the worker. It may take long to stop, because it lets running activities finish."""
    child = _python(plan, "worker", "worker", **{METRICS_ADDRESS: plan.metrics_address})
    child.grace = WORKER_GRACE
    return child


def make_api(plan: Plan) -> ServerProcess:
    """Return the API, listening on loopback."""
    return _python(
        plan, "api", "starter.api", **{f"{PREFIX}API_HOST": LOOPBACK, f"{PREFIX}API_PORT": str(plan.ports["api"])}
    )


def _python(plan: Plan, name: str, module: str, *arguments: str, **variables: str) -> ServerProcess:
    """Run a module of this installation, even if the current folder has modules of the same name."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TEMPORAL_")}
    path = os.pathsep.join(filter(None, [str(CODE), os.environ.get("PYTHONPATH")]))
    environment = inherited | plan.environment() | {"PYTHONPATH": path} | variables
    return _child(plan, name, [sys.executable, "-u", "-P", "-m", module, *arguments], environment)


def _child(plan: Plan, name: str, command: list[str], environment: Mapping[str, str]) -> ServerProcess:
    log = plan.data_dir / "logs" / f"{name}.log"
    rotate(log)
    return ServerProcess(name, LABELS[name], command, environment, log)
