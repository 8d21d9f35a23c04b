"""Make the pictures of the README and the docs from a real run: `python -m docs.pictures.make`.

It runs the demo on an embedded stack in a temporary folder, places two more orders at an API with a token, and takes
screenshots in headless Chromium. Nothing is drawn by hand; this module names all that the pictures leave out.
"""

import argparse
import asyncio
import email
import email.policy
import os
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from PIL import Image
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from commerce.messages.analytics import report_key
from docs.pictures.browser import Browser, BrowserError, find_browser, open_browser
from docs.pictures.temporal_ui import TemporalUi
from starter.demo.jobs import DAYS
from starter.demo.story import demo
from starter.devstack.carrier.server import REFUSED_COUNTRY
from starter.devstack.stack import Stack

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1280, 1200  # pixels of the window for a process: the UI renders only what fits
CODEC_ERROR_HEIGHT = 600  # pixels
COLUMNS = 104  # of the terminal
COLORS = 256  # of a picture: enough for pages and charts, at a third of the size
MAX_SIZE = 150_000  # bytes
SHOWN_FOLDER = "~/shop"  # in place of the temporary folder
AFTER_THE_PICTURE = "Stopping everything"  # the demo's output from here on is left out
WAIT_SECONDS = 60
TOKEN = "a-token-for-the-pictures"  # noqa: S105 - of a stack that ends with the pictures
FULFILLED, UNDONE = "1001", "1002"  # the orders that all pictures of orders show
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
# Show the oldest event first, and no side bar.
OLDEST_FIRST = (
    "[...document.querySelectorAll('button')].find(button => button.innerText.trim() === 'Descending').click()"
)
NO_SIDE_BAR = "document.querySelector('[data-testid=navigation-header]').parentElement.remove()"
# The result of an undone order is its failure with a stack trace, which contains local paths.
NO_RESULT = """(() => {
    const leaf = text => [...document.querySelectorAll('*')].find(
        element => !element.children.length && element.textContent.trim() === text && element.offsetParent);
    let panel = leaf('Input');
    while (!panel.contains(leaf('Result'))) panel = panel.parentElement;
    panel.remove();
})()"""
CHART_LABELS = "[...document.querySelectorAll('td[colspan=\"7\"]')].at(-1)"  # the days below the report's chart
# Left, top, right and bottom of an open dialog.
DIALOG_BOX = """(box => [Math.ceil(box.left), Math.ceil(box.top), Math.floor(box.right), Math.floor(box.bottom)])(
    document.querySelector('dialog[open]').getBoundingClientRect())"""
SETTLED = "new Promise(done => setTimeout(done, 2000, true))"  # wait for the animation of the timeline


def main() -> int:
    """Make all pictures and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.pictures.make", description="Make the pictures of the docs.")
    parser.add_argument("--to", type=Path, default=HERE, help="output folder; default: docs/pictures")
    parser.add_argument("--browser", default=find_browser(), help="path of a Chromium; default: the installed one")
    parser.add_argument("--port", type=int, default=9000, help="port of the API; 0: any free ports for all servers")
    options = parser.parse_args()
    if options.browser is None:
        sys.stderr.write("No Chromium is installed: install it (Debian: apt install chromium) or set --browser\n")
        return 2
    options.to.mkdir(parents=True, exist_ok=True)
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - with a terminal the demo would not exit
    with TemporaryDirectory(prefix="pictures ") as folder:
        try:
            pictures = asyncio.run(_make(Path(folder), options.browser, options.port))
        except BrowserError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    for name, picture in pictures.items():
        (options.to / name).write_bytes(picture)
        sys.stdout.write(f"{options.to / name}: {len(picture):,} bytes\n")
    return int(any(len(picture) > MAX_SIZE for picture in pictures.values()))


async def _make(folder: Path, program: str, port: int) -> Mapping[str, bytes]:
    console = Console(record=True, width=COLUMNS, force_terminal=True, force_interactive=False, file=sys.stderr)
    if await demo(console, folder / ".commerce", port=port) != 0:
        raise BrowserError("the demo failed")
    os.environ["COMMERCE_API_TOKENS"] = TOKEN
    async with Stack(folder / ".commerce", port=port, schedules=False, echo=_print) as stack:
        description = stack.description
        await _process_order(description["api_url"], FULFILLED, ORDER | {"shipping_country": "GB"})
        await _process_order(description["api_url"], UNDONE, ORDER | {"shipping_country": REFUSED_COUNTRY})
        return await asyncio.to_thread(_take_screenshots, program, folder, description, _terminal_page(console, folder))


def _print(line: str) -> None:
    sys.stderr.write(f"{line}\n")


async def _process_order(api: str, order_id: str, order: Mapping[str, Any]) -> None:
    """Place an order and wait until its process has ended."""
    token = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=api, timeout=10, headers=token) as http, asyncio.timeout(WAIT_SECONDS):
        (await http.put(f"/orders/{order_id}", json=order)).raise_for_status()
        status = "unknown"
        while status in ("unknown", "running"):
            await asyncio.sleep(0.2)
            run = await http.get(f"/workflows/order-processing-{order_id}")
            status = "unknown" if run.status_code == httpx.codes.NOT_FOUND else run.raise_for_status().json()["status"]


def _terminal_page(console: Console, folder: Path) -> str:
    """Return the demo's output as an HTML page."""
    html = console.export_html(theme=TERMINAL, code_format=PAGE, inline_styles=False)
    shown, _, _ = html.replace(str(folder.resolve()), SHOWN_FOLDER).partition(AFTER_THE_PICTURE)
    return shown.rstrip()


def _take_screenshots(program: str, folder: Path, description: Mapping[str, str], terminal: str) -> Mapping[str, bytes]:
    processes = f"{description['temporal_ui']}/namespaces/default/workflows/order-processing-"
    mail = _report_page(Path(description["mail_dir"]))
    with open_browser(program) as page:
        codec = _set_up_codec(page, TemporalUi(page, description["temporal_ui"]), description["api_url"])
        return {
            **codec,
            "demo.png": _document(page, folder / "demo.html", terminal, width=900),
            **_console_pages(page, description["console_url"]),
            "order.png": _process_page(page, processes + FULFILLED, shown="Buy one shipping label", height=905),
            "undone-order.png": _process_page(
                page, processes + UNDONE, shown="Undo create-fulfillment", height=740, script=NO_RESULT
            ),
            "report-mail.png": _document(page, folder / "mail.html", mail, width=640, until=CHART_LABELS),
        }


def _set_up_codec(page: Browser, ui: TemporalUi, api: str) -> Mapping[str, bytes]:
    """Let the UI decrypt payloads, step by step as docs/configuration.md tells it."""
    ui.open_run(f"order-processing-{FULFILLED}", shows="Codec Server could not connect")
    page.evaluate(NO_SIDE_BAR)
    page.evaluate(SETTLED)
    error = page.screenshot(width=WIDTH, height=CODEC_ERROR_HEIGHT)
    endpoint = f"{api}/codec/default"
    ui.sign_in_to_codec(endpoint, TOKEN)
    ui.fill_codec_dialog(endpoint)
    page.evaluate(SETTLED)
    box = page.evaluate(DIALOG_BOX)
    dialog = page.screenshot(width=box[2], height=box[3])
    ui.apply_codec_dialog()
    return {"codec-error.png": _compress(error), "codec-dialog.png": _compress(dialog, box)}


def _console_pages(page: Browser, console: str) -> Mapping[str, bytes]:
    """Sign in to the console, and take screenshots of its first page and of the undone order."""
    page.open(f"{console}/sign-in", width=WIDTH, height=HEIGHT)
    page.fill("#token", TOKEN)
    page.click("Sign in")
    page.wait("document.querySelector('h1')?.innerText === 'Today'")
    pictures = {}
    for name, path, last in (("today", "/", "#jobs"), ("order", f"/orders/{UNDONE}", ".timeline")):
        page.open(f"{console}{path}", width=WIDTH, height=HEIGHT)
        page.wait("document.readyState === 'complete'")
        bottom = f"Math.ceil(document.querySelector('{last}').closest('.card').getBoundingClientRect().bottom) + 16"
        pictures[f"console-{name}.png"] = _compress(page.screenshot(width=WIDTH, height=page.evaluate(bottom)))
    return pictures


def _process_page(page: Browser, url: str, *, shown: str, height: int, script: str = "") -> bytes:
    """Take a screenshot of a process in Temporal's UI, once it shows this text, which needs decrypted payloads."""
    page.open(url, width=WIDTH, height=HEIGHT)
    page.wait(f"document.body?.textContent.includes({shown!r})")
    for change in (NO_SIDE_BAR, OLDEST_FIRST, script, SETTLED):
        page.evaluate(change)
    return _compress(page.screenshot(width=WIDTH, height=height))


def _document(page: Browser, file: Path, html: str, *, width: int, until: str = "document.body") -> bytes:
    """Take a screenshot of an HTML page, down to the end of the element `until`."""
    file.write_text(html)
    page.open(file.as_uri(), width=width, height=600)
    page.wait("document.readyState === 'complete'")
    return _compress(
        page.screenshot(
            width=page.evaluate("document.documentElement.scrollWidth"),
            height=page.evaluate(f"Math.ceil({until}.getBoundingClientRect().bottom)"),
        )
    )


def _report_page(mails: Path) -> str:
    """Return the report mail of the demo's last day as an HTML page."""
    messages = (
        email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in mails.glob("*.eml")
    )
    mail = next(mail for mail in messages if mail["X-Commerce-Key"] == report_key(DAYS[-1]))
    body = mail.get_body(("html",))
    assert body is not None
    html: str = body.get_content()
    return html


def _compress(png: bytes, box: Sequence[int] | None = None) -> bytes:
    """Return the same picture, or what it shows in a box (left, top, right, bottom), with fewer colors and bytes."""
    with Image.open(BytesIO(png)) as picture:
        shown = picture.convert("RGB").crop((box[0], box[1], box[2], box[3]) if box else None)
        fewer = shown.quantize(COLORS, kmeans=3, dither=Image.Dither.NONE)
    out = BytesIO()
    fewer.save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
