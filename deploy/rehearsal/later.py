"""Checks that need more than the running services: a browser, an older version, another engine of images."""

import json
import os
import sys
import time
from typing import Any

import yaml
from stack import API, CACHE, ROOT, Stack, expect, run, wait_until

sys.path.insert(0, str(ROOT))
from docs.pictures.browser import find_browser, open_browser
from docs.pictures.temporal_ui import TemporalUi

SOURCES = (
    "find activities commerce starter workflows worker.py -name '*.py' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"
)


def image(shop: Stack) -> str:
    """The image: its code, size and labels, and whether the same commit gives the same image at another time."""
    _check_code(shop, "durable-commerce:0.1.0")
    found = json.loads(
        run("docker", "inspect", "durable-commerce:0.1.0", "durable-commerce:again-1", "durable-commerce:again-2")
    )
    expect(found[1]["Id"] == found[2]["Id"], "two builds of the same commit differ")
    labels = found[0]["Config"]["Labels"]
    version = run("docker", "run", "--rm", "--network=none", "durable-commerce:0.1.0", "--version").split()[-1]
    expect(labels["org.opencontainers.image.version"] == version, f"label {labels}, program {version}")
    base = json.loads(run("docker", "inspect", "python:" + os.environ.get("REHEARSAL_PYTHON", "3.13-slim-trixie")))[0][
        "Size"
    ]
    size, ours = found[0]["Size"] / 1e6, (found[0]["Size"] - base) / 1e6
    expect(size <= 250, f"the image has {size:.0f} MB, of which {ours:.0f} MB are ours")
    return f"version {version}; {size:.0f} MB, of which {ours:.0f} MB are ours; built twice: the same image"


def _check_code(shop: Stack, image: str) -> None:
    """Check that an image has the code of this commit: a build may take an earlier one from its cache."""
    inside = f"cd /app/lib/python*/site-packages && {SOURCES}"
    there = run("docker", "run", "--rm", "--network=none", "--entrypoint", "sh", image, "-c", inside)
    different = sorted({line.split()[1] for line in {*there.splitlines()} ^ {*shop.sh(SOURCES).splitlines()}})
    expect(not different, f"{image} has other files than {shop.commit}: {different[:5]}")


def ui(shop: Stack) -> str:
    """Temporal's UI shows in clear what an order's process was given and returned, after one login at the codec."""
    program = find_browser()
    expect(program, "no Chromium")
    with open_browser(str(program)) as browser:
        page = TemporalUi(browser, "http://localhost:8080")
        page.sign_in_to_codec(f"{API.replace('127.0.0.1', 'localhost')}/codec/default/decode", shop.token())
        page.open_run("order-processing-S1002", shows="tracking_numbers")
    return "decrypted"


def observability(shop: Stack) -> str:
    """The page's profile without Grafana: all is scraped, rules are evaluated, an order's spans arrive in Jaeger."""
    profile, added = ["--profile", "observability"], ["prometheus", "otel-collector", "jaeger"]
    shop.variables(COMMERCE_TRACES_URL="http://otel-collector:4318/v1/traces", COMMERCE_TRACES_SAMPLED="1")
    shop.compose(*profile, "up", "-d", "--wait", "--no-deps", *added, "worker", "api")

    def read(url: str) -> Any:
        return json.loads(shop.compose(*profile, "exec", "-T", "prometheus", "wget", "-qO-", url))["data"]

    def targets() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for each in read("http://127.0.0.1:9090/api/v1/targets?state=active")["activeTargets"]:
            found.setdefault(each["labels"]["job"], []).append(each["health"])
        return found

    def spans() -> set[str]:
        traces = read("http://jaeger:16686/api/traces?service=commerce-worker&limit=100")
        return {span["operationName"] for trace in traces for span in trace["spans"]}

    try:
        shop.import_orders("SPAN", 1)
        wanted = {"workflow_id": "order-processing", "input": {"order_id": "SPAN0"}}
        shop.http("POST", "/workflows/execute", wanted)
        steps = {"validate-order", "create-shipping-label", "send-notification"}
        wait_until(lambda: steps <= spans(), 60, "the spans of an order")
        count = len(spans())
        every = {"worker": ["up"] * 2, "api": ["up"], "temporal": ["up"], "otel-collector": ["up"], "jaeger": ["up"]}
        wait_until(lambda: every.items() <= targets().items(), 120, "Prometheus' targets")
        rules = [rule for group in read("http://127.0.0.1:9090/api/v1/rules")["groups"] for rule in group["rules"]]
        broken = [rule["name"] for rule in rules if rule["health"] == "err"]
        expect(rules and not broken, f"rules: {broken}")
    finally:
        shop.variables(COMMERCE_TRACES_URL="", COMMERCE_TRACES_SAMPLED="0.1")
        shop.compose(*profile, "rm", "--stop", "--force", *added)
        shop.sh("docker compose up -d --wait")
    return f"6 targets are up, {len(rules)} rules evaluated, {count} kinds of spans in Jaeger"


def upgrade(shop: Stack) -> str:
    """The version before this one, with data and orders in work, is upgraded as the page says, and set back."""
    before = os.environ.get("REHEARSAL_BEFORE", "HEAD~1")
    shop.compose("--profile", "*", "down", "--volumes", "--timeout", "5")
    old = Stack(CACHE / "shop" / "durable-commerce", before)
    _check_code(old, "durable-commerce:before")
    old.sh("deploy/make-secrets >/dev/null; cp deploy/env.example .env")
    old.write_sample_shop()
    old.variables(SHOP_VERSION="before")
    old.sh("docker compose up -d --wait")
    old.import_orders("OLD", 20)
    old.begin("OLD")
    shop.update(since=before)
    shop.variables(SHOP_VERSION="0.1.0")
    begun = time.monotonic()
    shop.sh("deploy/make-secrets >/dev/null; docker compose up -d --wait")
    took = time.monotonic() - begun
    wait_until(lambda: shop.fulfilled("OLD") == 20, 400, "the orders during the upgrade")
    shop.wait_for_mails("OLD", 20)
    shop.check_nothing_is_lost_or_doubled("OLD", 20)
    shop.cli("doctor")
    shop.variables(SHOP_VERSION="before")
    shop.sh("docker compose up -d --no-deps --wait worker api")
    shop.import_orders("NEW", 10)
    shop.begin("NEW")
    wait_until(lambda: shop.fulfilled("NEW") == 10, 300, "orders with the old version on the new tables")
    shop.variables(SHOP_VERSION="0.1.0")
    shop.sh("docker compose up -d --wait")
    commit = run("git", "describe", "--always", before).strip()
    return f"from {commit}, healthy after {took:.0f} s; 20 orders once; and back"


def roll(shop: Stack) -> str:
    """Four workers are replaced by those of a build with one more, patched step while 1,000 orders run."""
    count = int(os.environ.get("REHEARSAL_ORDERS", "1000"))
    shop.variables(SHOP_WORKERS="4")
    shop.sh("docker compose up -d --wait")
    shop.import_orders("ROLL", count)
    begun = time.monotonic()
    shop.begin("ROLL")
    wait_until(lambda: shop.fulfilled("ROLL") > count / 4, 900, "the orders before the roll")
    shop.variables(SHOP_VERSION="patched")
    started = time.monotonic()
    shop.sh("docker compose up -d --no-deps --wait worker")
    rolled, before = time.monotonic() - started, shop.fulfilled("ROLL")
    images = [each["Config"]["Image"] for each in shop.inspect("worker")]
    expect(images == ["durable-commerce:patched"] * 4, f"workers: {images}")
    wait_until(lambda: shop.fulfilled("ROLL") == count, 1800, "the orders after the roll")
    took = time.monotonic() - begun
    shop.wait_for_mails("ROLL", count)
    shop.check_nothing_is_lost_or_doubled("ROLL", count)
    query = "WorkflowId STARTS_WITH 'order-processing-ROLL' AND ExecutionStatus = 'Completed'"
    ended, patched = shop.count(query), shop.count(f"{query} AND TemporalChangeVersion = 'wrap-gifts'")
    expect(ended == count, f"{ended} of {count} processes completed")
    expect(patched >= count - before, f"{patched} orders have the new step, {count - before} ended after the roll")
    shop.variables(SHOP_VERSION="0.1.0", SHOP_WORKERS="2")
    shop.sh("docker compose up -d --wait")
    rate = f"{count} orders in {took:.0f} s ({count / took:.1f}/s)"
    return f"{rate}; workers replaced in {rolled:.0f} s, {before} orders before; {patched} with the new step"


def pods(shop: Stack) -> str:
    """The pods of deploy/kubernetes as containers: their arguments, variables, secrets, rights, limits and probes."""
    base = shop.folder / "deploy" / "kubernetes" / "base"
    settings = dict(line.split("=", 1) for line in (base / "settings.env").read_text().splitlines())
    example = dict(line.split("=", 1) for line in (shop.folder / ".env").read_text().splitlines() if line[:1].isalpha())
    settings |= {"TEMPORAL_ADDRESS": "temporal:7233"}
    settings |= {name: example[name] for name in ("COMMERCE_CARRIER_URL", "COMMERCE_WAREHOUSE_URL")}
    seen = []
    for file in ("migrate", "worker", "api"):
        workload = next(iter(yaml.safe_load_all((base / f"{file}.yaml").read_text())))
        spec = workload["spec"]["template"]["spec"]
        seen.append(f"{file}: {_run_pod(shop, file, spec, settings)}")
    return "; ".join(seen)


def _run_pod(shop: Stack, name: str, spec: dict[str, Any], settings: dict[str, str]) -> str:
    (container,) = spec["containers"]
    user = spec["securityContext"]["runAsUser"]
    mounted = shop.folder / f"pod-{name}"
    mounted.mkdir()
    for item in next(each["secret"] for each in spec["volumes"] if "secret" in each)["items"]:
        file = mounted / item["path"]
        file.write_bytes((shop.folder / "secrets" / item["key"]).read_bytes())
        file.chmod(0o440)
        os.chown(file, 0, spec["securityContext"]["fsGroup"])
    variables = settings | {each["name"]: each["value"] for each in container["env"]}
    rights = ["--user", f"{user}:{user}", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    limits = ["--memory", container["resources"]["limits"]["memory"].removesuffix("i"), "--tmpfs", "/tmp:size=64m"]
    where = ["--network", "durable-commerce_inside", "--volume", f"{mounted}:/run/secrets:ro"]
    given = [word for key, value in variables.items() for word in ("--env", f"{key}={value}")]
    pod = f"pod-{name}"
    image = "durable-commerce:0.1.0"
    run("docker", "run", "--detach", "--name", pod, *rights, *limits, *where, *given, image, *container["args"])
    try:
        if spec.get("restartPolicy") == "Never":
            code = run("docker", "wait", pod).strip()
            expect(code == "0", run("docker", "logs", pod, check=False)[-500:])
            return "exits with 0"
        port = {each["name"]: each["containerPort"] for each in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            get = container[probe]["httpGet"]
            url = f"http://127.0.0.1:{port[get['port']]}{get['path']}"
            wait_until(lambda url=url: run("docker", "exec", pod, "answers", url) is not None, 120, f"{name}: {probe}")
        begun = time.monotonic()
        run("docker", "stop", "--timeout", str(spec["terminationGracePeriodSeconds"]), pod)
        code = run("docker", "inspect", "--format", "{{.State.ExitCode}}", pod).strip()
        expect(code in ("0", "143"), f"{name} was stopped with {code}")
        return f"all probes answer, stopped after {time.monotonic() - begun:.0f} s with {code}"
    finally:
        run("docker", "rm", "--force", pod)
