"""Webhooks: valid URLs, the posted event and its signature, and addresses that are never connected to."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from commerce import outbox, webhooks
from commerce.errors import (
    BadInput,
    EventNotFound,
    WebhookExists,
    WebhookForbidden,
    WebhookNotFound,
    WebhookUnavailable,
)
from commerce.integrations.public_transport import PublicTransport, Resolve
from commerce.integrations.webhooks import MAX_WAIT, WebhookPoster
from commerce.messages.webhooks import WebhookDelivery
from commerce.version import VERSION
from commerce.webhooks import WebhookMessage, is_loopback
from tests.certificates import create_certificate
from tests.commerce.shop import Shop
from tests.webhook_receiver import WebhookReceiver, webhook_receiver

EVENT = UUID("0198d5a4-0000-7000-8000-000000000001")
SECRET = "whsec_dGVzdHMgcmVhZCBhcyBzZW50ZW5jZXMsIG5vdCBrZXk="
OTHER_SECRET = "whsec_YW5vdGhlciBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyE="
PUBLIC = "93.184.215.14"
NAME = "receiver.example"
INSIDE = """
    127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 240.0.0.1 255.255.255.255
    198.18.0.1 192.0.2.1 ::1 :: fe80::1 fc00::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1
    2002:7f00:1:: 2001:db8::1
    192.0.0.1 192.0.0.8 192.0.0.9 192.0.0.170 192.0.0.192 192.0.0.255 192.88.99.1 192.31.196.1 192.52.193.1 192.175.48.1
    168.63.129.16 169.254.170.2 100.100.100.200 240.0.0.1
    64:ff9b:1::a00:1 ::10.0.0.1 ::ffff:0:10.0.0.1 100::1 100:0:0:1::1 2001::1 2001:2::1 2001:10::1 2001:20::1 3fff::1
    5f00::1 fd00:ec2::254 fec0::1 2620:4f:8000::1 2606:4700::5efe:10.0.0.1 2606:4700::200:5efe:10.0.0.1 4000::1
"""


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as made:
        made.secret = SECRET
        yield made


def message(url: str, secret: str = SECRET) -> WebhookMessage:
    created_at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    return WebhookMessage(
        url, secret, EVENT, "order.placed", "order/1001", {"order_id": "1001", "number": 1}, created_at
    )


def poster(transport: httpx.AsyncBaseTransport | None = None) -> WebhookPoster:
    return WebhookPoster(
        source="/durable-commerce", prefix="com.shop.", transport=transport or PublicTransport(private=False)
    )


def names(*answers: Sequence[str]) -> Resolve:
    """Return a resolver that returns these addresses in turn."""
    rest = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return rest.pop(0)

    return resolve


class Network(httpx.AsyncBaseTransport):
    """A network in which all addresses respond with 204, except those that are down; it records the connections."""

    def __init__(self, *down: str) -> None:
        self.down = down
        self.reached: list[tuple[str, str, str]] = []  # address, Host, server name of TLS

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host in self.down:
            raise httpx.ConnectError("down")
        self.reached.append((request.url.host, request.headers["Host"], request.extensions["sni_hostname"]))
        return httpx.Response(204)


async def test_an_event_is_posted_as_cloudevents_json_and_signed(receiver: WebhookReceiver) -> None:  # (N5)
    assert await poster().post(message(receiver.url)) == "delivered"
    [(body, headers)] = receiver.requests
    event = from_structured_event(HTTPMessage(headers, body))
    assert event.get_attributes() == {
        "specversion": "1.0",
        "id": str(EVENT),
        "source": "/durable-commerce",
        "type": "com.shop.order.placed",
        "time": datetime(2026, 3, 2, 12, tzinfo=UTC),
        "subject": "order/1001",
        "datacontenttype": "application/json",
    }
    assert event.get_data() == {"order_id": "1001", "number": 1}
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["user-agent"] == f"durable-commerce/{VERSION}"
    assert receiver.accepted[0]["id"] == str(EVENT)  # its signature was verified


async def test_a_wrong_signature_is_detected(receiver: WebhookReceiver) -> None:
    await poster().post(message(receiver.url))
    [(body, headers)] = receiver.requests
    forged = [
        (Webhook(OTHER_SECRET), body, headers),
        (Webhook(SECRET), body.replace(b"1001", b"1002"), headers),
        (Webhook(SECRET), body, headers | {"webhook-id": str(uuid4())}),
        (Webhook(SECRET), body, headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}),
        (Webhook(SECRET), body, headers | {"webhook-timestamp": "1700000000"}),
    ]
    for verifier, content, sent in forged:
        with pytest.raises(WebhookVerificationError):
            verifier.verify(content, sent)


async def test_proxies_of_the_environment_are_not_used(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await poster().post(message(receiver.url)) == "delivered"
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 409, 429, 500, 503])
async def test_any_other_status_than_2xx_is_retried(receiver: WebhookReceiver, status: int) -> None:
    receiver.status, receiver.headers = status, {"Location": receiver.url}
    with pytest.raises(WebhookUnavailable) as error:
        await poster().post(message(receiver.url))
    assert (error.value.reason, error.value.wait) == (f"HTTP {status}", 0)
    assert len(receiver.requests) == 1  # no redirect was followed


class SilentNetwork(httpx.AsyncBaseTransport):
    """A network without responses until `answers` is set; it counts requests."""

    def __init__(self) -> None:
        self.tries = 0
        self.answers = asyncio.Event()

    async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
        self.tries += 1
        await self.answers.wait()
        return httpx.Response(204)


async def test_a_receiver_that_does_not_respond_gets_a_quiet_period() -> None:
    network = SilentNetwork()
    hasty = WebhookPoster(source="/", prefix="", transport=network, timeout=0.05, quiet_period=3600)
    with pytest.raises(WebhookUnavailable, match=r"no response within 0.05 s"):
        await hasty.post(message(f"https://{NAME}/"))
    with pytest.raises(WebhookUnavailable, match="no response to a request in the last 3600 s"):
        await hasty.post(message(f"https://{NAME}/"))
    assert network.tries == 1
    with pytest.raises(WebhookUnavailable, match=r"no response within 0.05 s"):
        await hasty.post(message("https://other.example/"))


async def test_after_the_quiet_period_the_next_delivery_is_sent() -> None:
    network = SilentNetwork()
    hasty = WebhookPoster(source="/", prefix="", transport=network, timeout=0.05, quiet_period=0)
    with pytest.raises(WebhookUnavailable):
        await hasty.post(message(f"https://{NAME}/"))
    network.answers.set()
    assert await hasty.post(message(f"https://{NAME}/")) == "delivered"


async def test_a_receiver_can_be_gone(receiver: WebhookReceiver) -> None:
    receiver.status = 410
    assert await poster().post(message(receiver.url)) == "gone"


async def test_a_closed_port_is_retried() -> None:
    with pytest.raises(WebhookUnavailable) as error:
        await poster().post(message("http://127.0.0.1:1/hook"))
    assert error.value.reason == "ConnectError"


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("120", 120, 120),
        ("9999999", MAX_WAIT.total_seconds(), MAX_WAIT.total_seconds()),
        ("in an hour", 3_000, 3_600),
        ("soon", 0, 0),
        ("-5", 0, 0),
    ],
)
async def test_retry_after_is_respected(receiver: WebhookReceiver, header: str, least: float, most: float) -> None:
    value = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True) if header == "in an hour" else header
    receiver.status, receiver.headers = 503, {"Retry-After": value}
    with pytest.raises(WebhookUnavailable) as error:
        await poster().post(message(receiver.url))
    assert least <= error.value.wait <= most


@pytest.mark.parametrize("address", INSIDE.split())
async def test_a_name_with_a_private_address_is_refused(address: str) -> None:
    network = Network()
    inside = PublicTransport(private=False, resolve=names([address]), transport=network)
    with pytest.raises(WebhookForbidden):
        await poster(inside).post(message(f"https://{NAME}/hook"))
    literal = f"[{address}]" if ip_address(address).version == 6 else address
    if not is_loopback(address):
        with pytest.raises(WebhookForbidden):
            await poster(PublicTransport(private=False, transport=network)).post(message(f"https://{literal}/hook"))
    assert network.reached == []


async def test_the_checked_address_is_the_one_that_is_connected_to() -> None:
    """DNS rebinding does not help, because a name is resolved once per connection."""
    network = Network()
    rebinding = PublicTransport(private=False, resolve=names([PUBLIC], ["127.0.0.1"]), transport=network)
    await poster(rebinding).post(message(f"https://{NAME}:8443/hook"))
    assert network.reached == [(PUBLIC, f"{NAME}:8443", NAME)]
    with pytest.raises(WebhookForbidden):
        await poster(rebinding).post(message(f"https://{NAME}:8443/hook"))


async def test_the_first_allowed_address_that_accepts_a_connection_is_used() -> None:
    network = Network("2606:4700::1")
    resolve = names(["127.0.0.1", "2606:4700::1", PUBLIC, "93.184.215.15"])
    await poster(PublicTransport(private=False, resolve=resolve, transport=network)).post(message(f"https://{NAME}/"))
    assert [address for address, *_ in network.reached] == [PUBLIC]
    all_down = PublicTransport(private=False, resolve=names([PUBLIC]), transport=Network(PUBLIC))
    with pytest.raises(WebhookUnavailable):
        await poster(all_down).post(message(f"https://{NAME}/"))


async def test_private_addresses_can_be_allowed() -> None:
    network = Network()
    allowed = PublicTransport(private=True, resolve=names(["10.1.2.3"]), transport=network)
    await poster(allowed).post(message(f"https://{NAME}/hook"))
    assert network.reached == [("10.1.2.3", NAME, NAME)]


async def test_localhost_is_always_this_machine() -> None:
    network = Network()
    astray = PublicTransport(private=True, resolve=names([PUBLIC, "127.0.0.1"]), transport=network)
    await poster(astray).post(message("http://localhost:8080/hook"))
    assert network.reached == [("127.0.0.1", "localhost:8080", "localhost")]


async def test_a_certificate_must_be_valid_for_the_name(tmp_path: Path) -> None:
    certificate, key = create_certificate(tmp_path, NAME)
    trusting = httpx.AsyncHTTPTransport(verify=ssl.create_default_context(cafile=certificate), trust_env=False)
    here = names(["127.0.0.1"], ["127.0.0.1"])
    async with webhook_receiver(ssl_certfile=certificate, ssl_keyfile=key) as receiver:
        port = receiver.url.split(":")[2]
        ours = poster(PublicTransport(private=True, resolve=here, transport=trusting))
        assert await ours.post(message(f"https://{NAME}:{port}")) == "delivered"
        with pytest.raises(WebhookUnavailable):
            await ours.post(message(f"https://other.example:{port}"))
        await ours.close()


async def test_a_webhook_is_added_with_a_secret_that_the_list_does_not_show(shop: Shop) -> None:
    added = await shop.call(webhooks.add, "https://receiver.example/hook", ["order.placed", "order.placed"])
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", added.secret)
    [listed] = await shop.call(webhooks.list_endpoints)
    assert (listed.id, listed.url, listed.event_types) == (added.id, added.url, ("order.placed",))
    assert added.secret not in repr(listed)
    with pytest.raises(WebhookExists):
        await shop.call(webhooks.add, "https://receiver.example/hook")
    await shop.call(webhooks.remove, str(added.id))
    assert await shop.call(webhooks.list_endpoints) == []
    with pytest.raises(WebhookNotFound):
        await shop.call(webhooks.remove, str(added.id))


async def test_a_disabled_webhook_can_be_added_again_with_a_new_secret(shop: Shop) -> None:
    first = await shop.call(webhooks.add, "https://receiver.example/hook")
    delivery = WebhookDelivery(endpoint_id=first.id, event_id=EVENT)
    await shop.call(webhooks.disable, delivery)
    assert (await shop.call(webhooks.list_endpoints))[0].disabled_at is not None
    assert await shop.call(webhooks.load_message, delivery) == "disabled"
    again = await shop.call(webhooks.add, "https://receiver.example/hook", ["cart.expired"])
    assert again.id == first.id and again.secret != first.secret
    [listed] = await shop.call(webhooks.list_endpoints)
    assert (listed.disabled_at, listed.event_types) == (None, ("cart.expired",))


async def test_the_message_is_the_event_as_it_was_written(shop: Shop) -> None:
    endpoint = await shop.call(webhooks.add, "https://receiver.example/hook")
    await shop.call(outbox.add, outbox.NewEvent("k", "order.placed", "order/1", {"order_id": "1"}))
    [(event_id, created_at)] = await shop.sql("SELECT id, created_at FROM outbox_events")
    delivery = WebhookDelivery(endpoint_id=endpoint.id, event_id=event_id)
    expected = WebhookMessage(
        endpoint.url, endpoint.secret, event_id, "order.placed", "order/1", {"order_id": "1"}, created_at
    )
    assert await shop.call(webhooks.load_message, delivery) == expected
    assert endpoint.secret not in repr(replace(expected, aggregate=""))
    with pytest.raises(EventNotFound):
        await shop.call(webhooks.load_message, WebhookDelivery(endpoint_id=endpoint.id, event_id=EVENT))
    assert await shop.call(webhooks.load_message, WebhookDelivery(endpoint_id=EVENT, event_id=event_id)) == "removed"


@pytest.mark.parametrize(
    "url",
    [
        *("https://receiver.example", "https://receiver.example:8443/a?b=c", "http://localhost:9/hook"),
        *("http://[::1]/hook", "https://receiver", "https://receiver.example.", "https://my_hooks.receiver.example"),
        *("https://xn--bcher-kva.example", "https://93.184.215.14", "https://[2606:4700::1]", "https://1a.example"),
    ],
)
def test_a_url_may_be_https_or_this_machine(url: str) -> None:
    assert webhooks.validate_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "receiver.example",
        "http://receiver.example/hook",
        "http://10.0.0.1/hook",
        "http://localhost.example/hook",
        "http://127.0.0.1.example/hook",
        "ftp://receiver.example",
        "https:///hook",
        "https://receiver.example:port/hook",
        "https://[::1/hook",
        "https://ann:secret@receiver.example/hook",
        "https://receiver.example/hook#part",
        "https://receiver.example/a b",
        "https://receiver.example/a\nb",
        "https://bücher.example/hook",
        f"https://receiver.example/{'a' * 2_000}",
        *("https://.", "https://..", "https://a..example", "https://.receiver.example", "https://receiver.example.."),
        *(
            "https://-receiver.example",
            "https://receiver-.example",
            "https://receiver%20.example",
            "https://a!.example",
        ),
        *(
            "https://1.2.3",
            "https://1.2.3.256",
            "https://999.1.1.1",
            "https://receiver.1",
            "https://0x7f.1",
            "https://1",
        ),
        *(f"https://{'a' * 64}.example", f"https://{'a.' * 127}example", "https://receiver.invalid"),
        *(
            "https://xn--a.example",
            "https://[fe80::1%25eth0]/hook",
            "https://[v1.x]/hook",
            "https://[1.2.3.4]/",
            "https://[::1.2.3]/",
        ),
    ],
)
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(BadInput) as error:
        webhooks.validate_url(url)
    assert [problem.field for problem in error.value.fields] == ["url"]


@pytest.mark.parametrize("wanted", [[], ["order.lost"], ["order.placed", "com.shop.order.placed"]])
def test_an_unknown_type_is_refused(wanted: list[str]) -> None:
    with pytest.raises(BadInput) as error:
        webhooks.validate_event_types(wanted)
    assert "order.placed, order.updated" in str(error.value)


def test_a_star_means_all_types() -> None:
    assert webhooks.validate_event_types(["order.placed", "*"]) == ["*"]
