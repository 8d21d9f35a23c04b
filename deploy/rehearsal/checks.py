"""What the deployment page promises, checked on the running services. Each check returns what it saw."""

import json
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from stack import JOBS, SERVICES, Stack, expect, run, wait_until

Check = Callable[[Stack], str]
NOBODY_ELSE = 0o077
OURS = ["worker", "api", "carrier", "warehouse"]
PROBE = """
for f in /x /app/x /data/x /etc/x; do touch $f 2>/dev/null && echo written:$f; done
touch /tmp/x && echo tmp; id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
ls /run/secrets 2>/dev/null || true
"""


def start(shop: Stack) -> str:
    """The page's first commands, literally; images were built before, since a build needs the machine's network."""
    shop.sh("deploy/make-secrets")
    shop.sh("cp deploy/env.example .env")
    shop.write_sample_shop()
    begun = time.monotonic()
    shop.sh("docker compose up -d --wait")
    return f"all services healthy after {time.monotonic() - begun:.0f} s"


def states(shop: Stack) -> str:
    """`docker compose ps -a`: the jobs have exited with 0 at once, everything else is healthy."""
    for job in JOBS:
        (found,) = shop.inspect(job)
        expect(found["State"]["Status"] == "exited" and found["State"]["ExitCode"] == 0, f"{job}: {found['State']}")
        expect(found["RestartCount"] == 0, f"{job} was started {found['RestartCount'] + 1} times")
    expect(shop.healthy(), "not all are healthy")
    restarts = {service: each["RestartCount"] for service in SERVICES for each in shop.inspect(service)}
    expect(not any(restarts.values()), f"restarts: {restarts}")
    return "four jobs exited with 0 at their first try; no service was restarted"


def again(shop: Stack) -> str:
    """`docker compose up -d --wait` again: the jobs find nothing to do, no service is recreated."""
    before = {service: shop.containers(service) for service in SERVICES}
    shop.sh("deploy/make-secrets | grep -v unchanged && exit 1 || true")
    shop.sh("docker compose up -d --wait")
    expect(before == {service: shop.containers(service) for service in SERVICES}, "containers were recreated")
    states(shop)
    return "nothing changed"


def doctor(shop: Stack) -> str:
    """`docker compose run --rm cli doctor` finds nothing."""
    return shop.cli("doctor").strip().splitlines()[-1].strip()


def orders(shop: Stack) -> str:
    """The page's first order, from the command line and over HTTP, and its mail."""
    for kind in ("inventory", "orders"):
        shop.sh(f'docker compose run --rm -T -v "$PWD:/in:ro" cli import {kind} /in/sample-{kind}.csv')
    shop.cli("start", "order-processing", "--input", '{"order_id": "S1002"}', "--follow")
    answer = shop.sh(
        "curl -sS -X POST http://localhost:9000/workflows/execute -H 'Content-Type: application/json' "
        '-H "Authorization: Bearer $(head -1 secrets/api_tokens)" '
        """-d '{"workflow_id": "order-processing", "input": {"order_id": "S1002"}}'"""
    )
    expect('"fulfilled"' in answer, answer)
    wait_until(shop.mails, 60, "a mail")
    expect(shop.http("GET", "/orders", token="wrong") == 401, "the API answers without a token")
    subjects = sorted({re.sub(r"S\d+", "…", mail["Subject"]) for mail in shop.mails()})
    return f"fulfilled, with the mail {', '.join(subjects)}"


def isolation(shop: Stack) -> str:
    """Users, root file systems, capabilities, secrets and networks, seen from inside the containers."""
    promised = json.loads(shop.compose("config", "--format", "json"))["services"]
    for service in OURS:
        out = shop.compose("exec", "-T", service, "sh", "-c", PROBE)
        lines = out.split()
        written = [line for line in lines if line.startswith("written:")]
        expect(written == (["written:/data/x"] if service in ("carrier", "warehouse") else []), f"{service}: {written}")
        expect("tmp" in lines and "10001" in lines, out)
        expect(re.findall(r"Cap\w+:\s*(\w+)", out) == ["0" * 16] * 2, out)
        expect(re.search(r"NoNewPrivs:\s*1", out) and re.search(r"Seccomp:\s*2", out), out)
        named = {secret["source"] for secret in promised[service].get("secrets", [])}
        seen = set(out.split("Seccomp")[-1].split()[2:]) if named else set()
        expect(not named or seen == named, f"{service} sees {seen}, not {named}")
    for service in SERVICES:
        for each in shop.inspect(service):
            host = each["HostConfig"]
            expect(host["CapDrop"] == ["ALL"] and "no-new-privileges:true" in host["SecurityOpt"], service)
            expect(host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "5", "max-size": "10m"}}, service)
            limits = promised[service]["deploy"]["resources"]["limits"]
            expect(host["Memory"] == int(limits["memory"]), f"{service}: memory {host['Memory']}")
            expect(host["NanoCpus"] == round(float(limits["cpus"]) * 1e9), f"{service}: cpus {host['NanoCpus']}")
            expect(host["PidsLimit"] == limits["pids"], f"{service}: pids {host['PidsLimit']}")
            published = [b["HostIp"] for bindings in each["NetworkSettings"]["Ports"].values() for b in bindings or []]
            expect(all(ip == "127.0.0.1" for ip in published), f"{service}: published on {published}")
    python = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
    shop.compose("exec", "-T", "carrier", "python", "-c", python, "postgres", "5432")  # on the same network
    routes = shop.compose("exec", "-T", "carrier", "cat", "/proc/net/route").splitlines()[1:]
    expect(not any(line.split()[1] == "00000000" for line in routes), "the inner network has a default route")
    return "users, read-only roots, no capabilities, own secrets only, limits, loopback ports, no way out of `inside`"


def secrets(shop: Stack) -> str:
    """Permissions of the files; a second token, and the removal of the first; another database password."""
    folder = shop.folder / "secrets"
    expect(folder.stat().st_mode & NOBODY_ELSE == 0, "others can open the folder")
    first = shop.token()
    shop.sh(
        "chmod u+w secrets/api_tokens && openssl rand -hex 32 >> secrets/api_tokens && chmod 444 secrets/api_tokens; "
        "docker compose up -d --force-recreate --wait api"
    )
    expect(shop.http("GET", "/orders", token=first) != 401, "the first token is refused too early")
    expect(shop.http("GET", "/orders") != 401, "the second token is refused")
    shop.sh("sed -i 1d secrets/api_tokens; docker compose up -d --force-recreate --wait api")
    expect(shop.http("GET", "/orders", token=first) == 401, "the removed token is accepted")
    shop.sh("""
        new=$(openssl rand -hex 24)
        docker compose exec -T postgres psql -qc "ALTER ROLE commerce PASSWORD '$new'"
        rm -f secrets/commerce_password
        echo "$new" > secrets/commerce_password
        old=$(cat secrets/database_url); rm -f secrets/database_url
        echo "$old" | sed "s|//commerce:[^@]*@|//commerce:$new@|" > secrets/database_url
        chmod 444 secrets/commerce_password secrets/database_url
        docker compose up -d --force-recreate --wait worker api warehouse""")
    doctor(shop)
    return "a token and a database password changed"


def schedules(shop: Stack) -> str:
    """The shop's schedules exist; one that is set to each minute starts its job by the clock, and is set back."""
    job, setting = "cleanup-expired-carts", "COMMERCE_CRON_CLEANUP_EXPIRED_CARTS=* * * * *"
    before = _schedules(shop)
    expect(len(before) >= 5, f"{len(before)} schedules")

    def completed() -> list[dict[str, str]]:
        runs: list[dict[str, str]] = _schedules(shop)[job]["last_runs"]
        return [each for each in runs if each["status"] == "completed" and each not in before[job]["last_runs"]]

    try:
        shop.compose("run", "--rm", "-T", "-e", setting, "cli", "schedules", "apply")
        wait_until(lambda: completed(), 200, f"a run of {job} by its schedule")
        seen = completed()[0]
    finally:
        shop.cli("schedules", "apply")
    late = datetime.fromisoformat(seen["started_at"]) - datetime.fromisoformat(seen["nominal_time"])
    expect(late < timedelta(seconds=30), f"it ran late: {seen}")
    after = _schedules(shop)[job]
    expect(after["cron"] == before[job]["cron"] and not after["edited"], f"it is not as before: {after}")
    return f"{len(before)} schedules; a run on the minute, {late.total_seconds():.1f} s late, completed"


def _schedules(shop: Stack) -> dict[str, Any]:
    return {row["id"]: row for row in json.loads(shop.cli("schedules", "list", "--json"))}


def logs(shop: Stack) -> str:
    """60 MB of log of one of our services leave five files of 10 MB."""
    name = "durable-commerce-log-check"
    flood = "import sys\nfor n in range(600000): print(f'{n:099}')"
    run("docker", "rm", "--force", name, check=False)
    shop.compose("run", "--detach", "--name", name, "--entrypoint", "python", "--no-deps", "cli", "-c", flood)
    try:
        run("docker", "wait", name)
        path = Path(run("docker", "inspect", "--format", "{{.LogPath}}", name).strip())
        sizes = [file.stat().st_size for file in path.parent.glob("*-json.log*")]
        expect(len(sizes) == 5 and max(sizes) < 11_000_000, f"log files: {sizes}")
    finally:
        run("docker", "rm", "--force", name, check=False)
    return f"{len(sizes)} files of at most {max(sizes) / 1e6:.0f} MB"


def kills(shop: Stack) -> str:
    """Each service is killed and started again while orders are processed; nothing is lost or doubled."""
    return "; ".join(_kill(shop, service) for service in SERVICES)


def _kill(shop: Stack, service: str) -> str:
    prefix, count = f"K{service[:4].upper()}", 10
    shop.import_orders(prefix, count)
    shop.begin(prefix)
    for container in shop.containers(service):
        run("docker", "kill", container)
    time.sleep(3)
    shop.compose("start", service)
    took = wait_until(shop.healthy, 180, f"health after the kill of {service}")
    orders = wait_until(lambda: shop.fulfilled(prefix) == count, 400, f"the orders during the kill of {service}")
    shop.wait_for_mails(prefix, count)
    shop.check_nothing_is_lost_or_doubled(prefix, count)
    return f"{service}: healthy after {took:.0f} s, all {count} orders {orders:.0f} s later"


def engine(shop: Stack) -> str:
    """The engine is restarted while orders are processed, as at a restart of the machine."""
    shop.import_orders("ENG", 20)
    shop.begin("ENG")
    here = Path(__file__).parent
    run(here / "engine", "stop")
    begun = time.monotonic()
    run(here / "engine", "start")
    wait_until(shop.healthy, 300, "health after the restart of the engine")
    took = time.monotonic() - begun
    wait_until(lambda: shop.fulfilled("ENG") == 20, 400, "the orders during the restart")
    shop.wait_for_mails("ENG", 20)
    shop.check_nothing_is_lost_or_doubled("ENG", 20)
    return f"everything healthy again {took:.0f} s after the start of the engine"


def scaling(shop: Stack) -> str:
    """Four workers instead of two, new containers for all of them, then two again, while orders are processed."""
    shop.import_orders("SCA", 100)
    shop.begin("SCA")
    shop.variables(SHOP_WORKERS="4")
    shop.sh("docker compose up -d --wait")
    expect(len(shop.containers("worker")) == 4, "not four workers")
    shop.sh("docker compose up -d --force-recreate --no-deps --wait worker")
    shop.variables(SHOP_WORKERS="2")
    shop.sh("docker compose up -d --wait")
    expect(len(shop.containers("worker")) == 2, "not two workers")
    took = wait_until(lambda: shop.fulfilled("SCA") == 100, 600, "the orders")
    shop.wait_for_mails("SCA", 100)
    shop.check_nothing_is_lost_or_doubled("SCA", 100)
    return f"100 orders fulfilled once, the last {took:.0f} s after the last change"


def load(shop: Stack) -> str:
    """Memory, CPU and connections while 120 orders are processed, within the file's limits."""
    count = 120
    shop.import_orders("LOAD", count)
    used = shop.cpu_seconds()
    begun = time.monotonic()
    shop.begin("LOAD")
    peaks: dict[str, float] = {}
    connections = 0
    while shop.fulfilled("LOAD") < count:
        expect(time.monotonic() - begun < 600, "orders take too long")
        for line in run("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemPerc}}").splitlines():
            name, share = line.split()
            service = name.removeprefix("durable-commerce-").rpartition("-")[0]
            peaks[service] = max(peaks.get(service, 0), float(share.rstrip("%")))
        connections = max(connections, int(shop.sql("SELECT count(*) FROM pg_stat_activity")[0][0]))
    took = time.monotonic() - begun
    killed = [service for service in SERVICES for each in shop.inspect(service) if each["State"]["OOMKilled"]]
    expect(not killed, f"out of memory: {killed}")
    shop.wait_for_mails("LOAD", count)
    shop.check_nothing_is_lost_or_doubled("LOAD", count)
    after = shop.cpu_seconds()
    cpu = ", ".join(f"{service} {1000 * (after[service] - used[service]) / count:.0f}" for service in after)
    shares = ", ".join(f"{service} {share:.0f}%" for service, share in sorted(peaks.items()))
    rate = f"{count} orders in {took:.0f} s ({count / took:.1f}/s)"
    return f"{rate}; CPU ms per order: {cpu}; of its memory limit: {shares}; {connections} connections"


def backup(shop: Stack) -> str:
    """The operations page's backup, while orders are processed, and its restore into an empty volume."""
    shop.import_orders("BACK", 20)
    shop.begin("BACK")
    begun = time.monotonic()
    shop.sh("""mkdir -p backup elsewhere
        docker compose exec -T postgres pg_basebackup --username postgres --pgdata - --format tar --gzip \
            --wal-method fetch --checkpoint fast > backup/postgres.tar.gz
        cp secrets/encryption_keys secrets/address_keys elsewhere/""")
    backed_up = time.monotonic() - begun
    size = (shop.folder / "backup" / "postgres.tar.gz").stat().st_size / 1e6
    begun = time.monotonic()
    shop.sh("""docker compose --profile "*" down && docker volume rm durable-commerce_postgres
        docker compose run --rm --no-deps -T --entrypoint bash postgres \
            -c 'mkdir -p -m 700 "$PGDATA" && tar -xzf - -C "$PGDATA"' < backup/postgres.tar.gz
        docker compose up -d --wait postgres
        docker compose up -d --wait""")
    restored = time.monotonic() - begun
    shop.cli("start", "process-pending-orders")
    wait_until(lambda: shop.fulfilled("BACK") == 20, 400, "the orders after the restore")
    shop.cli("audit")
    shop.cli("doctor")
    return f"backup of {size:.0f} MB in {backed_up:.0f} s, restored and healthy after {restored:.0f} s, orders complete"
