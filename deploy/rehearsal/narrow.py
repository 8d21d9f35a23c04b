"""A narrow place: networks with IPv6 alone, a small disk that fills up, and a Temporal that asks for tokens (JWT)."""

import json
import re
import shutil
import time
from base64 import urlsafe_b64encode
from contextlib import suppress

import certificates
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from stack import CACHE, HERE, SERVICES, Stack, expect, wait_until

DISK = CACHE / "disk"
DISK_SIZE = "700m"
ORDERS = 150  # so many that the disk is full before they are done
COORDINATE = 32  # bytes of a number of the curve P-256


def start(shop: Stack) -> str:
    """The page's override for networks with IPv6 alone, literally; PostgreSQL on a disk of 700 MB."""
    shop.sh("deploy/make-secrets >/dev/null; cp deploy/env.example .env")
    page = (shop.folder / "docs" / "deployment.md").read_text()
    (block,) = re.findall(r"```yaml\n(networks:\n.*?)```", page, re.DOTALL)
    (shop.folder / "docker-compose.override.yml").write_text(block)
    shutil.copytree(HERE / "narrow", shop.folder / "narrow")
    shop.mount(DISK, DISK_SIZE)
    shop.variables(COMPOSE_FILE="docker-compose.yml:docker-compose.override.yml:narrow/disk.yml")
    shop.variables(REHEARSAL_DISK=str(DISK))
    shop.write_sample_shop()
    begun = time.monotonic()
    shop.sh("docker compose up -d --wait")
    return f"all services healthy after {time.monotonic() - begun:.0f} s"


def ipv6(shop: Stack) -> str:
    """No container has an IPv4 address; the doctor finds nothing; an order from HTTP to mail."""
    for service in SERVICES:
        for each in shop.inspect(service):
            addresses = [network["IPAddress"] for network in each["NetworkSettings"]["Networks"].values()]
            expect(not any(addresses), f"{service}: {addresses}")
    last = shop.cli("doctor").strip().splitlines()[-1].strip()
    for kind in ("inventory", "orders"):
        shop.sh(f'docker compose run --rm -T -v "$PWD:/in:ro" cli import {kind} /in/sample-{kind}.csv')
    wanted = {"workflow_id": "order-processing", "input": {"order_id": "S1002"}}
    answer = shop.http("POST", "/workflows/execute", wanted, url="http://[::1]:9000")
    expect('"fulfilled"' in json.dumps(answer), str(answer))
    wait_until(shop.mails, 60, "a mail")
    return f"no IPv4 address; {last}; fulfilled, with its mail"


def disk(shop: Stack) -> str:
    """PostgreSQL's disk is full while orders are processed; with space again, nothing is lost or doubled."""
    shop.import_orders("DISK", ORDERS)
    shop.begin("DISK")
    before, ballast = shop.fulfilled("DISK"), DISK / "ballast"
    expect(before < ORDERS / 2, "most orders were done before the disk was full")
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(2**20)):
            pass

    def full() -> bool:
        return "No space left on device" in shop.compose("logs", "--tail", "40", "postgres")

    try:
        took = wait_until(full, 120, "the log of PostgreSQL about the disk")
        time.sleep(20)  # orders go on trying
        said = _findings(shop.cli("doctor", "--json", check=False))
        expect(any(word in line for line in said for word in ("disk", "no host", "postgres")), f"the doctor: {said}")
    finally:
        ballast.unlink()
    healthy = wait_until(shop.healthy, 180, "health after it has space")
    wait_until(lambda: shop.fulfilled("DISK") == ORDERS, 400, "the orders after it has space")
    shop.wait_for_mails("DISK", ORDERS)
    shop.check_nothing_is_lost_or_doubled("DISK", ORDERS)
    shop.cli("doctor")
    noticed = f"stopped {took:.0f} s after the disk was full, the doctor says: {said[0]}"
    return f"{before} of {ORDERS} orders before; {noticed}; healthy {healthy:.0f} s after it has space"


def tokens(shop: Stack) -> str:
    """Temporal with tokens (JWT), and TLS without client certificates; one line says that a token is refused."""
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    certificates.write(shop, {"jwks.json": json.dumps({"keys": [_public(key)]})})
    good = _token(key, "default:write")
    shop.variables(
        COMPOSE_FILE="docker-compose.yml:docker-compose.override.yml:narrow/disk.yml:narrow/tokens.yml",
        REHEARSAL_ADMIN_TOKEN=_token(key, "temporal-system:admin"),
        TEMPORAL_API_KEY=good,
        TEMPORAL_TLS_SERVER_CA_CERT_PATH="/tls/ca.pem",
    )
    shop.sh("docker compose up -d --wait")
    # The services of a new Temporal container with a new address need a while to find each other.
    found = wait_until(lambda: shop.cli("doctor"), 240, "the doctor after Temporal was replaced")
    shop.import_orders("JWT", 1)
    shop.cli("start", "order-processing", "--input", '{"order_id": "JWT0"}')
    refused = {
        "no": "",
        "a wrong": _token(other, "default:write"),
        "an expired": _token(key, "default:write", seconds=-60),
        "a read-only": _token(key, "default:read"),
    }
    said = [f"{kind} token: {_refusal(shop, token)}" for kind, token in refused.items()]
    _, log = _worker(shop, _token(key, "default:write", seconds=20))
    expect("check the permissions of TEMPORAL_API_KEY" in log, f"the worker whose token ends says: {log[-500:]}")
    well = f"the doctor is content {found:.0f} s after Temporal was replaced; an order fulfilled"
    return "; ".join([well, *said, "a worker's log says that its token has ended"])


def _refusal(shop: Stack, token: str) -> str:
    """Return what the doctor says about a token; the worker does not start with it, and says so in its last line."""
    given = ["run", "--rm", "-T", *_variables(token)]
    found = _findings(shop.compose(*given, "cli", "doctor", "--json", check=False))
    expect(any("TEMPORAL_API_KEY" in each for each in found), f"the doctor finds: {found}")
    last, _ = _worker(shop, token)
    expect("TEMPORAL_API_KEY" in last, f"the worker says: {last}")
    return last


def _variables(token: str) -> list[str]:
    return ["-e", f"TEMPORAL_API_KEY={token}", "-e", "TEMPORAL_TLS=true"]  # also without a token


def _worker(shop: Stack, token: str) -> tuple[str, str]:
    """Return the last line, and the whole log, of a worker that runs for at most 75 seconds."""
    worker = ["--entrypoint", "timeout", "cli", "75", "commerce", "worker"]
    log = shop.compose("run", "--rm", "-T", *_variables(token), *worker, check=False).strip()
    return log.splitlines()[-1], log


def _findings(out: str) -> list[str]:
    """Return what the doctor finds wrong, in its report as JSON."""
    report = json.loads("".join(re.findall(r"^\[.*^\]", out, re.MULTILINE | re.DOTALL)))
    return [f"{each['found']}: {each['cure']}" for each in report if each["state"] == "failed"]


def _public(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    x, y = (_base64(number.to_bytes(COORDINATE)) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "rehearsal", "x": x, "y": y}


def _token(key: ec.EllipticCurvePrivateKey, *permissions: str, seconds: int = 3600) -> str:
    """Return a JWT that ends after so many seconds."""
    claims = {"sub": "shop", "permissions": permissions, "exp": int(time.time()) + seconds}
    head = {"alg": "ES256", "typ": "JWT", "kid": "rehearsal"}
    text = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(SHA256())))
    return f"{text}.{_base64(r.to_bytes(COORDINATE) + s.to_bytes(COORDINATE))}"


def _base64(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


ALL = [start, ipv6, disk, tokens]
