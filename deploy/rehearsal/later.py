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


def image(shop: Stack) -> str:
    """The image: its size, its labels, and whether the same commit gives the same image at another time."""
    del shop
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


def ui(shop: Stack) -> str:
    """Temporal's UI shows in clear what an order's process was given and returned, after one login at the codec."""
    program = find_browser()
    expect(program, "no Chromium")
    with open_browser(str(program)) as browser:
        page = TemporalUi(browser, "http://localhost:8080")
        page.sign_in_to_codec(f"{API.replace('127.0.0.1', 'localhost')}/codec/default/decode", shop.token())
        page.open_run("order-processing-S1002", shows="tracking_numbers")
    return "decrypted"


def upgrade(shop: Stack) -> str:
    """The version before this one, with data and orders in work, is upgraded as the page says, and set back."""
    before = os.environ.get("REHEARSAL_BEFORE", "HEAD~1")
    shop.compose("--profile", "*", "down", "--volumes", "--timeout", "5")
    old = Stack(CACHE / "shop" / "durable-commerce", before)
    old.sh("deploy/make-secrets >/dev/null; cp deploy/env.example .env")
    old.write_sample_shop()
    old.variables(SHOP_VERSION="before")
    old.sh("docker compose up -d --wait")
    old.import_orders("OLD", 20)
    old.begin("OLD")
    shop.update()
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
