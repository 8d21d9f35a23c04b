"""The compose file's services in a copy of this repository, as a person at a shell sees them."""

import csv
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = Path(os.environ.get("REHEARSAL_CACHE") or Path.home() / ".cache" / "durable-commerce-rehearsal")
SERVICES = ["postgres", "temporal", "ui", "worker", "api", "mailpit", "carrier", "warehouse"]
JOBS = ["databases", "temporal-schema", "temporal-namespace", "migrate"]
API = "http://127.0.0.1:9000"


class Failed(Exception):
    """Something was not as the deployment page says; the message says what."""


def expect(truth: object, message: str) -> None:
    """Raise `Failed` unless this is true."""
    if not truth:
        raise Failed(message)


def run(
    *command: str | Path, folder: Path = ROOT, text: str | None = None, check: bool = True, **variables: str
) -> str:
    """Run a command and return its output; raise `Failed` with its last lines if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=os.environ | variables,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if check and done.returncode:
        shown = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise Failed(f"{' '.join(map(str, command))} exited with {done.returncode}:\n{shown}")
    return done.stdout if check else done.stdout + done.stderr


def wait_until(true: Callable[[], object], seconds: float, what: str) -> float:
    """Wait until a function returns something true; return the seconds that it took. Raises `Failed`."""
    start = time.monotonic()
    while True:
        try:
            if true():
                return time.monotonic() - start
            last: object = "not yet"
        except (Failed, OSError, ValueError, KeyError) as error:
            last = error
        expect(time.monotonic() - start < seconds, f"{what}: not within {seconds:.0f} s ({last})")
        time.sleep(0.5)


class Stack:
    """A copy of a commit in a folder of its own, with its secrets, its `.env` and its containers."""

    def __init__(self, folder: Path, commit: str = "HEAD") -> None:
        self.folder = folder
        self.disk: Path | None = None
        self.commit = run("git", "describe", "--always", commit).strip()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        os.umask(0o022)
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)

    def update(self, since: str) -> None:
        """Replace the files of an earlier commit by those of this one, as `git pull` does; secrets and `.env` stay."""
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", self.folder], input=archive.stdout, check=True)
        for gone in run("git", "diff", "--no-renames", "--diff-filter=D", "--name-only", since, "HEAD").splitlines():
            (self.folder / gone).unlink(missing_ok=True)

    def sh(self, command: str, *, text: str | None = None, check: bool = True, **variables: str) -> str:
        """Run a line of the deployment page."""
        return run(
            "bash", "-c", f"set -euo pipefail; {command}", folder=self.folder, text=text, check=check, **variables
        )

    def compose(self, *words: str, text: str | None = None, check: bool = True, **variables: str) -> str:
        """Run `docker compose …`."""
        return run("docker", "compose", *words, folder=self.folder, text=text, check=check, **variables)

    def mount(self, folder: Path, size: str) -> None:
        """Mount an empty disk of this size, which belongs to PostgreSQL's user, until `down`."""
        run("umount", "--lazy", folder, check=False)
        folder.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={size},uid=999", "tmpfs", folder)
        self.disk = folder

    def down(self) -> None:
        """Remove everything."""
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "5", check=False)
        if self.disk:
            run("umount", self.disk)

    def cli(self, *words: str, check: bool = True) -> str:
        """Run one of our commands in a container, as the pages say."""
        return self.compose("run", "--rm", "-T", "cli", *words, check=check)

    def sql(self, statement: str, database: str = "commerce") -> list[list[str]]:
        """Run a statement in the container of PostgreSQL; return rows of texts."""
        out = self.compose("exec", "-T", "postgres", "psql", "-XAtq", "-F", "\t", database, "-c", statement)
        return [line.split("\t") for line in out.splitlines()]

    def count(self, query: str) -> int:
        """Return how many runs Temporal finds for a query."""
        words = ["temporal", "workflow", "count", "--query", query]
        return int(self.compose("run", "--rm", "-T", "--no-deps", "temporal-namespace", *words).split()[-1])

    def containers(self, service: str, *, all_states: bool = False) -> list[str]:
        """Return the ids of a service's containers."""
        more = ["--all"] if all_states else []
        return self.compose("ps", "--quiet", *more, service).split()

    def inspect(self, service: str) -> list[dict[str, Any]]:
        """Return what the engine knows of a service's containers."""
        ids = self.containers(service, all_states=True)
        found: list[dict[str, Any]] = json.loads(run("docker", "inspect", *ids)) if ids else []
        return found

    def healthy(self, services: Iterable[str] = SERVICES) -> bool:
        """Return whether all containers of these services are healthy."""
        states = [each["State"] for service in services for each in self.inspect(service)]
        return all(state["Running"] and state.get("Health", {}).get("Status") == "healthy" for state in states)

    def variables(self, **changes: str) -> None:
        """Change lines of `.env`."""
        file = self.folder / ".env"
        lines = [line for line in file.read_text().splitlines() if line.partition("=")[0] not in changes]
        file.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in changes.items())]) + "\n")

    def secret(self, name: str, text: str) -> None:
        """Write a secret's file."""
        file = self.folder / "secrets" / name
        file.unlink(missing_ok=True)
        file.write_text(text + "\n")
        file.chmod(0o444)

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU seconds that the containers of each service have used since they started."""
        read = "cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null || grep ^usage_usec /sys/fs/cgroup/cpu.stat"
        used = dict.fromkeys(SERVICES, 0.0)
        for service in SERVICES:
            for container in self.containers(service):
                *version_2, number = run("docker", "exec", container, "sh", "-c", read).split()
                used[service] += int(number) / (1e6 if version_2 else 1e9)
        return used

    def token(self) -> str:
        """Return the last API token."""
        return (self.folder / "secrets" / "api_tokens").read_text().split()[-1]

    def http(self, method: str, path: str, body: object = None, *, token: str | None = None, url: str = API) -> Any:
        """Call the API; return its JSON, or its status if that is not 2xx."""
        request = urllib.request.Request(
            url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {token or self.token()}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code

    def mails(self) -> list[dict[str, Any]]:
        """Return the mails in the mail catcher."""
        out = self.sh("docker compose exec -T mailpit wget -qO- 'http://127.0.0.1:8025/api/v1/messages?limit=100000'")
        found: list[dict[str, Any]] = json.loads(out)["messages"]
        return found

    def write_sample_shop(self) -> None:
        """Write the sample files that `commerce demo` leaves on a laptop."""
        program = "import sys, pathlib, starter.demo.sample_shop as s; s.write_sample_shop(pathlib.Path(sys.argv[1]))"
        run(ROOT / ".venv" / "bin" / "python", "-c", program, self.folder)

    def wait_for_mails(self, prefix: str, count: int) -> None:
        """Wait until the mails of these orders are sent."""
        sent = "FROM notifications WHERE kind = 'order-shipped' AND status = 'sent'"
        query = f"SELECT count(*) {sent} AND order_id LIKE '{prefix}%'"
        wait_until(lambda: self.sql(query)[0][0] == str(count), 300, f"the mails of {prefix}")

    def import_orders(self, prefix: str, count: int) -> None:
        """Import this many paid orders of one mug, and the mugs."""
        stock = self.folder / f"{prefix}-inventory.csv"
        stock.write_text(
            "Handle,Title,SKU,Location,Available,On hand,Tracked,Policy\n"
            f"{prefix},{prefix},{prefix.upper()}-MUG,Workshop,{count},{count},true,deny\n"
        )
        sample = csv.DictReader((self.folder / "sample-orders.csv").read_text().splitlines())
        first = next(sample)
        orders = self.folder / f"{prefix}-orders.csv"
        with orders.open("w", newline="") as file:
            writer = csv.DictWriter(file, first)
            writer.writeheader()
            for number in range(count):
                writer.writerow(
                    first
                    | {
                        "Name": f"#{prefix}{number}",
                        "Id": f"{prefix}{number}",
                        "Email": f"{prefix}{number}@example.com",
                    }
                    | {"Lineitem quantity": "1", "Lineitem name": prefix, "Lineitem sku": f"{prefix.upper()}-MUG"}
                    | {"Lineitem price": "71.30", "Total": "75.50"}
                )
        for file in (stock, orders):
            file.chmod(0o644)
        self.sh(f'docker compose run --rm -T -v "$PWD:/in:ro" cli import inventory /in/{stock.name}')
        self.sh(f'docker compose run --rm -T -v "$PWD:/in:ro" cli import orders /in/{orders.name}')

    def begin(self, prefix: str) -> None:
        """Start the job that processes pending orders, and wait for the first of these orders."""

        def first() -> bool:
            self.cli("start", "process-pending-orders", "--no-wait", check=False)  # fails while the last one works
            return self.fulfilled(prefix) > 0

        wait_until(first, 180, f"the first order of {prefix}")

    def fulfilled(self, prefix: str) -> int:
        """Return how many of the orders with this prefix are fulfilled."""
        return int(
            self.sql(f"SELECT count(*) FROM orders WHERE id LIKE '{prefix}%' AND fulfillment_status = 'fulfilled'")[0][
                0
            ]
        )

    def check_nothing_is_lost_or_doubled(self, prefix: str, count: int) -> None:
        """Check that each order was fulfilled once: one label, one mail; and that the audit finds nothing."""
        expect(self.fulfilled(prefix) == count, f"{self.fulfilled(prefix)} of {count} orders are fulfilled")
        labels = self.sql(
            "SELECT count(*), count(DISTINCT tracking_number), count(DISTINCT order_id) FROM fulfillments "
            f"WHERE order_id LIKE '{prefix}%' AND tracking_number IS NOT NULL"
        )[0]
        expect(labels == [str(count)] * 3, f"labels, tracking numbers, orders: {labels} instead of {count}")
        mails = self.sql(
            f"SELECT count(*), count(DISTINCT order_id) FROM notifications WHERE order_id LIKE '{prefix}%' "
            "AND kind = 'order-shipped' AND status = 'sent'"
        )[0]
        expect(mails == [str(count)] * 2, f"mails sent, orders: {mails} instead of {count}")
        self.cli("audit")  # fails if it finds anything
