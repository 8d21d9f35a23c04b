"""Control a headless Chromium over its debugging pipe: open pages, wait for their content, take screenshots."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PROGRAM_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--remote-debugging-pipe", "--force-color-profile=srgb", "--lang=en-GB"),
)
TIMEOUT = 60.0  # seconds, for one answer of the browser
POLL_INTERVAL = 0.1  # seconds
MIN_DESCRIPTOR = 10  # of our ends of the pipes, because the browser expects its own at 3 and 4
LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserError(Exception):
    """The browser failed or does not show what is expected; the message is one line."""


def find_browser() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next((found for name in PROGRAM_NAMES if (found := shutil.which(name))), None)


@contextmanager
def open_browser(program: str, *flags: str) -> Iterator["Browser"]:
    """Run a browser with a temporary profile and additional command-line flags."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        running = Browser(program, Path(profile), flags)
        try:
            running.attach()
            yield running
        finally:
            running.close()


class Browser:
    """A browser with one page."""

    def __init__(self, program: str, profile: Path, flags: Sequence[str] = ()) -> None:
        self._to, browser_input = _pipe()
        browser_output, self._from = _pipe()
        launcher = [sys.executable, "-c", LAUNCHER, str(browser_input), str(browser_output)]
        self._process = subprocess.Popen(  # noqa: S603 - the browser that was found or named
            [*launcher, program, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(browser_input, browser_output),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(browser_input)
        os.close(browser_output)
        self._received, self._number = b"", 0
        self._session: str | None = None
        self._context: str | None = None

    def attach(self) -> None:
        """Open the page, once the browser answers. It knows nothing of an earlier page: no cookies, no storage."""
        self.detach()
        self._context = self._call("Target.createBrowserContext")["browserContextId"]
        target = self._call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")

    def detach(self) -> None:
        """Close the page, so that it makes no more requests."""
        self._session, context = None, self._context
        if context:
            self._context = None
            self._call("Target.disposeBrowserContext", browserContextId=context)

    def open(self, url: str, *, width: int, height: int) -> None:
        """Open a URL in a window of this size, in pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """Evaluate a JavaScript expression in the page and return its value."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails'].get('text')}")
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until a JavaScript expression is true. Raises BrowserError after a timeout."""
        deadline = time.monotonic() + TIMEOUT
        while not self.evaluate(script):
            if time.monotonic() > deadline:
                raise BrowserError(f"after {TIMEOUT:.0f} s this is not true in the page: {script}")
            time.sleep(POLL_INTERVAL)

    def click(self, text: str, selector: str = "button") -> None:
        """Click the first visible element that matches a selector and has this text, once there is one.

        An empty text matches any element, visible or not.
        """
        element = (
            f"[...document.querySelectorAll({json.dumps(selector)})].find(one => {json.dumps(text)} === '' ||"
            f" one.innerText.trim() === {json.dumps(text)} && one.offsetParent)"
        )
        self.wait(f"!!({element}) && !({element}).disabled")
        self.evaluate(f"({element}).click()")

    def fill(self, selector: str, text: str) -> None:
        """Replace the text of an input field, once it is there."""
        field = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"!!{field}")
        self.evaluate(
            f"(field => {{ Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value').set.call(field,"
            f" {json.dumps(text)}); for (const kind of ['input', 'change'])"
            f" field.dispatchEvent(new Event(kind, {{bubbles: true}})); }})({field})"
        )

    def screenshot(self, *, width: int, height: int) -> bytes:
        """Return a PNG of the upper left part of the page, of this size in pixels."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        answer = self._call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        """Stop the browser."""
        os.close(self._to)
        os.close(self._from)
        try:
            self._process.wait(timeout=5)  # it exits when its pipe is closed
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        os.write(self._to, json.dumps(request).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT
        while (answer := self._receive(deadline)).get("id") != self._number:
            pass  # an event, not an answer
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._from], [], [], max(deadline - time.monotonic(), 0))
            more = os.read(self._from, 1 << 20) if ready else b""
            if not more:
                raise BrowserError("the browser has exited" if ready else f"no answer within {TIMEOUT:.0f} s")
            self._received += more
        message, _, self._received = self._received.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed


def _pipe() -> tuple[int, int]:
    """Return the write end and the read end of a pipe, with descriptors that the browser does not use."""
    ends = os.pipe()
    reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, MIN_DESCRIPTOR) for end in ends)
    for end in ends:
        os.close(end)
    return writing, reading
