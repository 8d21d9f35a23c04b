"""A headless Chromium, spoken to over its debugging pipe: opens pages, waits for what they show, photographs them."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--remote-debugging-pipe", "--force-color-profile=srgb", "--lang=en-GB"),
)
ANSWER = 60.0  # seconds
POLL = 0.1  # seconds
ABOVE_ALL = 10  # file descriptors up to here are left alone: the browser wants its pipe at 3 and 4
BECOME = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserError(Exception):
    """The browser does not show what it should; the message is one line."""


def find() -> str | None:
    """Return where a Chromium is installed, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def browser(program: str) -> Iterator["Browser"]:
    """Run a browser with a profile of its own, which is gone afterwards."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        running = Browser(program, Path(profile))
        try:
            running.attach()
            yield running
        finally:
            running.close()


class Browser:
    """One browser with one page."""

    def __init__(self, program: str, profile: Path) -> None:
        self._to, theirs_in = _pipe()
        theirs_out, self._from = _pipe()
        become = [sys.executable, "-c", BECOME, str(theirs_in), str(theirs_out)]
        self._process = subprocess.Popen(  # noqa: S603 - the browser that was found
            [*become, program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._received, self._number = b"", 0
        self._session: str | None = None

    def attach(self) -> None:
        """Open the one page, once the browser answers."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")

    def open(self, url: str, *, width: int, height: int) -> None:
        """Show a page in a window of this size, in pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Return what a script of one expression says in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails'].get('text')}")
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until a script says something true; raises BrowserError when it never does."""
        deadline = time.monotonic() + ANSWER
        while not self.run(script):
            if time.monotonic() > deadline:
                raise BrowserError(f"within {ANSWER:.0f} s the page has not come to {script}")
            time.sleep(POLL)

    def photograph(self, *, width: int, height: int) -> bytes:
        """Return this much of the page, from its upper left corner on, as PNG."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self._call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def close(self) -> None:
        """End the browser."""
        os.close(self._to)
        os.close(self._from)
        try:
            self._process.wait(timeout=5)  # it ends when its pipe does
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._to, json.dumps(asked).encode() + b"\0")
        deadline = time.monotonic() + ANSWER
        while (answer := self._receive(deadline)).get("id") != self._number:
            pass  # an event: nobody asked
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._from], [], [], max(deadline - time.monotonic(), 0))
            more = os.read(self._from, 1 << 20) if ready else b""
            if not more:
                raise BrowserError("the browser has ended" if ready else f"no answer within {ANSWER:.0f} s")
            self._received += more
        message, _, self._received = self._received.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed


def _pipe() -> tuple[int, int]:
    """Return the writing and the reading end of a pipe, both out of the way."""
    ends = os.pipe()
    reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, ABOVE_ALL) for end in ends)
    for end in ends:
        os.close(end)
    return writing, reading
