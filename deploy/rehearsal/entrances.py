"""The ways in that the pages describe and the compose file does not use by itself, all at once.

Temporal with mutual TLS and a namespace of its own, PostgreSQL with `verify-full` and passwords of odd
characters, PgBouncer in transaction mode, a mail server with TLS and login, a proxy with TLS, a time zone with daylight
saving time.
"""

import json
import re
import shutil
import time
from urllib.parse import quote

import certificates
from stack import HERE, Stack, expect, run, wait_until

ODD = r"""p@s:s/w?o#r%d&=+ ,;'"`$HOME\x{}[]()<>|~ü€!*^"""  # no line break: a secret is a line


def start(shop: Stack) -> str:
    """The services start with all of this, with odd passwords in the secrets."""
    shop.sh("deploy/make-secrets >/dev/null; cp deploy/env.example .env")
    password = f"{ODD}-mail"
    for role, file in (("commerce", "database_url"), ("commerce_migrator", "migration_database_url")):
        secret = {"commerce": "commerce_password", "commerce_migrator": "migrator_password"}[role]
        shop.secret(secret, f"{ODD}-{role}")
        server = "postgres:5432/commerce?sslmode=verify-full&sslrootcert=/tls/ca.pem"
        shop.secret(file, f"postgresql://{role}:{quote(f'{ODD}-{role}', safe='')}@{server}")
    direct = (shop.folder / "secrets" / "database_url").read_text()
    # Temporal writes a space as "+" into the URL of its database, where it is not decoded.
    shop.secret("temporal_password", f"{ODD}-temporal".replace(" ", "_"))
    shop.secret("smtp_url", f"smtp+starttls://{quote('shop@example.com')}:{quote(password, safe='')}@mail:587")
    certificates.write(
        shop,
        {
            "direct_url": direct,
            "mail.password": password,
            "pgbouncer.users": '"commerce" "' + f"{ODD}-commerce".replace('"', '""') + '"',
        },
    )
    pooled = f"postgresql://commerce:{quote(f'{ODD}-commerce', safe='')}@pooler:6432/commerce"
    shutil.copy(HERE / "entrances" / "override.yml", shop.folder / "docker-compose.override.yml")
    shop.write_sample_shop()
    shop.variables(TEMPORAL_NAMESPACE="shop", COMMERCE_TIMEZONE="Europe/Berlin", COMPOSE_PROFILES="trial")
    _proxy_of_the_page(shop)
    shop.sh("docker compose up -d --wait")
    shop.secret("database_url", pooled)  # the migration has no pooler, and the page's database_url is for both
    shop.sh("docker compose up -d --wait --no-deps --force-recreate worker api")
    return "all healthy"


def _proxy_of_the_page(shop: Stack) -> None:
    """Write the page's configuration of Caddy, with our certificate and addresses."""
    page = (shop.folder / "docs" / "deployment.md").read_text()
    (block,) = re.findall(r"```text\n(api\.shop\.example \{.*?)```", page, re.DOTALL)
    own = "https://api.shop.example:9443 {\n    tls /tls/proxy.pem /tls/proxy.key"
    text = block.replace("api.shop.example {", own).replace("127.0.0.1:9000", "api:9000")
    (shop.folder / "tls" / "0" / "Caddyfile").write_text("{\n    auto_https off\n    admin off\n}\n" + text)


def doctor(shop: Stack) -> str:
    """The doctor finds nothing; connections use TLS, pooled ones included."""
    last = shop.cli("doctor").strip().splitlines()[-1].strip()
    plain = shop.sql(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE NOT ssl AND client_addr IS NOT NULL"
    )
    expect(plain == [["0"]], f"{plain[0][0]} connections without TLS")
    refused = shop.compose(
        "run", "--rm", "-T", "--no-deps", "-e", "TEMPORAL_TLS_CLIENT_CERT_PATH=", "-e", "TEMPORAL_TLS_CLIENT_KEY_PATH=",
        "temporal-namespace", "temporal", "operator", "cluster", "health", check=False,
    )  # fmt: skip
    expect("SERVING" not in refused, "Temporal answers without a client certificate")
    return f"{last}; no connection without TLS; Temporal refuses without a client certificate"


def mails(shop: Stack) -> str:
    """An order's mail arrives by STARTTLS with login, then another's by TLS from the start."""
    for kind in ("inventory", "orders"):
        shop.sh(f'docker compose run --rm -T -v "$PWD:/in:ro" cli import {kind} /in/sample-{kind}.csv')
    _order_with_mail(shop, "S1002")
    url = (shop.folder / "secrets" / "smtp_url").read_text().strip()
    shop.secret("smtp_url", url.replace("smtp+starttls:", "smtps:").replace(":587", ":465"))
    shop.sh("docker compose up -d --wait --no-deps --force-recreate worker")
    _order_with_mail(shop, "S1004")
    return "both arrived, received with esmtpsa"


def _order_with_mail(shop: Stack, order_id: str) -> None:
    shop.cli("start", "order-processing", "--input", json.dumps({"order_id": order_id}))
    (row,) = shop.sql(f"SELECT recipient FROM notifications WHERE order_id = '{order_id}' AND kind = 'order-shipped'")

    def arrived() -> bool:
        inbox = shop.compose("exec", "-T", "mail", "cat", "/mail/inbox")
        return order_id in inbox and "esmtpsa" in inbox

    wait_until(arrived, 60, f"the mail of {order_id} to {row[0]}")


def proxy(shop: Stack) -> str:
    """Caddy with TLS as on the page: no /metrics, and the stream of events is not held back."""
    base = [
        "curl",
        "-sS",
        "--cacert",
        str(shop.folder / "tls" / "0" / "ca.pem"),
        "--resolve",
        "api.shop.example:9443:127.0.0.1",
    ]
    login = ["-H", f"Authorization: Bearer {shop.token()}"]
    url = "https://api.shop.example:9443"
    expect("404" in run(*base, "-o", "/dev/null", "-w", "%{http_code}", f"{url}/metrics"), "/metrics is open")
    expect(run(*base, "-o", "/dev/null", "-w", "%{http_code}", f"{url}/health/ready") == "200", "not ready")
    shop.compose("stop", "carrier")
    try:
        shop.import_orders("TLS", 1)  # a new one: the job for pending orders may have processed the others by now
        shop.cli("start", "order-processing", "--input", '{"order_id": "TLS0"}', "--no-wait")
        begun = time.monotonic()
        stream = run(
            *base, *login, "--max-time", "8", "-N", f"{url}/workflows/order-processing-TLS0/events", check=False
        )
        expect("validate-order" in stream, f"no event within 8 s of a stream that has not ended: {stream[:300]}")
        expect(time.monotonic() - begun > 7, f"the stream has ended: {stream[:300]}")
    finally:
        shop.compose("start", "carrier")
    return "TLS, /metrics hidden, events arrive while the stream is open"


def clock(shop: Stack) -> str:
    """Containers and schedules use the time zone of the shop; processes are in its namespace."""
    out = shop.compose("exec", "-T", "worker", "date", "+%Z")
    expect(out.strip() in ("CET", "CEST"), out)
    where = shop.compose("exec", "-T", "worker", "sh", "-c", "echo $TEMPORAL_NAMESPACE").strip()
    count = shop.compose(
        "run", "--rm", "-T", "--no-deps", "temporal-namespace", "temporal", "workflow", "count", "--namespace", where
    )
    expect(where == "shop" and "Total" in count, count)
    return f"{out.strip()}; namespace {where}: {count.strip()}"


ALL = [start, doctor, mails, proxy, clock]
