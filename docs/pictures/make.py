"""Makes the pictures of the README and the docs anew from a real run: `python -m docs.pictures.make`.

It runs the demo on a stack of its own in a scratch folder, hands two more orders to the shop that is then there, and
photographs in headless Chromium what there is to see. Nothing in them is drawn by hand; what is left out is named here.
"""

import argparse
import asyncio
import email
import email.policy
import os
import sys
from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from PIL import Image
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from commerce.messages.analytics import report_key
from docs.pictures.browser import Browser, BrowserError, browser, find
from starter.demo.jobs import DAYS
from starter.demo.story import demo
from starter.devstack.carrier.server import REFUSED_COUNTRY
from starter.devstack.stack import Stack

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1280, 1200  # pixels of the window that shows a process: the UI draws no more than fits in
COLUMNS = 104  # of the terminal
COLORS = 256  # of a picture: enough for pages and charts, in a third of the bytes
MOST = 150_000  # bytes
SHOWN_AS = "~/shop"  # the scratch folder
WAIT_SECONDS = 60
ORDER = {
    "email": "ann@customer.example",
    "financial_status": "paid",
    "created_at": "2026-03-05T12:00:00Z",
    "shipping": "3.95",
    "shipping_method": "Standard",
    "shipping_name": "Ann Lee",
    "shipping_address1": "1 High Street",
    "shipping_city": "London",
    "shipping_zip": "N1 9GU",
    "lines": [{"quantity": 2, "name": "Canvas Pencil Roll, Olive", "price": "19.00", "sku": "PENCIL-ROLL-OLIVE"}],
}
TERMINAL = TerminalTheme(
    (22, 27, 34),
    (236, 240, 244),
    [(48, 54, 61), (255, 123, 114), (126, 211, 133), (227, 179, 65), (121, 192, 255), (210, 168, 255), (86, 212, 221)],
    [
        (110, 118, 129),
        (255, 161, 152),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
    ],
)
PAGE = """<!DOCTYPE html><meta charset="utf-8"><style>
body {{ margin: 0; padding: 24px 28px; background: {background}; color: {foreground}; display: inline-block }}
pre {{ margin: 0; font: 14px/1.35 "DejaVu Sans Mono", monospace }}
{stylesheet}</style><pre>{code}</pre>"""
# Time runs downwards, and the side bar gives way to what is in the middle.
DOWNWARDS = "[...document.querySelectorAll('button')].find(button => button.innerText.trim() === 'Descending').click()"
NO_SIDE_BAR = "document.querySelector('[data-testid=navigation-header]').parentElement.remove()"
# The result of an undone order is its failure with the stack trace, which names this machine's folders.
NO_RESULT = """(() => {
    const leaf = text => [...document.querySelectorAll('*')].find(
        element => !element.children.length && element.textContent.trim() === text && element.offsetParent);
    let panel = leaf('Input');
    while (!panel.contains(leaf('Result'))) panel = panel.parentElement;
    panel.remove();
})()"""
SETTLED = "new Promise(done => setTimeout(done, 2000, true))"  # the timeline moves into its place


def main() -> int:
    """Make every picture; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.pictures.make", description="Make the pictures anew.")
    parser.add_argument("--to", type=Path, default=HERE, help="folder of the pictures; default: where they belong")
    parser.add_argument("--browser", default=find(), help="a Chromium; default: the one that is installed")
    parser.add_argument("--port", type=int, default=9000, help="port of the API; 0: any, for every server")
    options = parser.parse_args()
    if options.browser is None:
        sys.stderr.write("No Chromium is installed (Debian: apt install chromium): name one by --browser\n")
        return 2
    options.to.mkdir(parents=True, exist_ok=True)
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - at a terminal the demo would stay up
    with TemporaryDirectory(prefix="pictures ") as folder:
        try:
            made = asyncio.run(_make(Path(folder), options.browser, options.port))
        except BrowserError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    for name, picture in made.items():
        (options.to / name).write_bytes(picture)
        sys.stdout.write(f"{options.to / name}: {len(picture):,} bytes\n")
    return int(any(len(picture) > MOST for picture in made.values()))


async def _make(folder: Path, program: str, port: int) -> Mapping[str, bytes]:
    console = Console(record=True, width=COLUMNS, force_terminal=True, force_interactive=False, file=sys.stderr)
    if await demo(console, folder / ".commerce", port=port) != 0:
        raise BrowserError("the demo has not ended well")
    async with Stack(folder / ".commerce", port=port, schedules=False, echo=_say) as stack:
        facts = stack.description
        await _process(facts["api_url"], "1001", ORDER | {"shipping_country": "GB"})
        await _process(facts["api_url"], "1002", ORDER | {"shipping_country": REFUSED_COUNTRY})
        return await asyncio.to_thread(_photographed, program, folder, facts, _terminal(console, folder))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


async def _process(api: str, order_id: str, order: Mapping[str, Any]) -> None:
    """Hand an order to the shop, and wait until its process has ended."""
    async with httpx.AsyncClient(base_url=api, timeout=10) as http, asyncio.timeout(WAIT_SECONDS):
        (await http.put(f"/orders/{order_id}", json=order)).raise_for_status()
        status = "unknown"
        while status in ("unknown", "running"):
            await asyncio.sleep(0.2)
            run = await http.get(f"/workflows/order-processing-{order_id}")
            status = "unknown" if run.status_code == httpx.codes.NOT_FOUND else run.raise_for_status().json()["status"]


def _terminal(console: Console, folder: Path) -> str:
    """Return what the demo has printed as a page."""
    html = console.export_html(theme=TERMINAL, code_format=PAGE, inline_styles=False)
    said, stops, _ = html.replace(str(folder.resolve()), SHOWN_AS).partition("Everything stops now")
    return said.rstrip() if stops else html


def _photographed(program: str, folder: Path, facts: Mapping[str, str], terminal: str) -> Mapping[str, bytes]:
    processes = f"{facts['temporal_ui']}/namespaces/default/workflows/order-processing-"
    mail = _report(Path(facts["mail_dir"]))
    with browser(program) as page:
        return {
            "demo.png": _document(page, folder / "demo.html", terminal, width=900),
            "order.png": _process_page(page, f"{processes}1001", shown="Buy one shipping label", height=905),
            "undone-order.png": _process_page(
                page, f"{processes}1002", shown="Undo create-fulfillment", height=740, script=NO_RESULT
            ),
            "report-mail.png": _document(page, folder / "mail.html", mail, width=640, until="document.images[0]"),
        }


def _process_page(page: Browser, url: str, *, shown: str, height: int, script: str = "") -> bytes:
    """Photograph a process in Temporal's UI, once it shows this text: then the payloads are decrypted."""
    page.open(url, width=WIDTH, height=HEIGHT)
    page.wait(f"document.body?.textContent.includes({shown!r})")
    for change in (NO_SIDE_BAR, DOWNWARDS, script, SETTLED):
        page.run(change)
    return _small(page.photograph(width=WIDTH, height=height))


def _document(page: Browser, file: Path, html: str, *, width: int, until: str = "document.body") -> bytes:
    """Photograph a page of our own, down to the end of this element."""
    file.write_text(html)
    page.open(file.as_uri(), width=width, height=600)
    page.wait("document.readyState === 'complete' && [...document.images].every(image => image.complete)")
    return _small(
        page.photograph(
            width=page.run("document.documentElement.scrollWidth"),
            height=page.run(f"Math.ceil({until}.getBoundingClientRect().bottom)"),
        )
    )


def _report(mails: Path) -> str:
    """Return the report of the demo's last day as a mail program shows it: its pictures are parts of the mail."""
    caught = (email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in mails.glob("*.eml"))
    mail = next(mail for mail in caught if mail["X-Commerce-Key"] == report_key(DAYS[-1]))
    body = mail.get_body(("html",))
    assert body is not None
    html: str = body.get_content()
    for part in mail.walk():
        if name := part["Content-ID"]:
            data = b64encode(part.get_content()).decode()
            html = html.replace(f"cid:{name.strip('<>')}", f"data:{part.get_content_type()};base64,{data}")
    return html


def _small(png: bytes) -> bytes:
    """Return the same picture in fewer colours and bytes."""
    with Image.open(BytesIO(png)) as picture:
        fewer = picture.convert("RGB").quantize(COLORS, kmeans=3, dither=Image.Dither.NONE)
    out = BytesIO()
    fewer.save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
