"""The browser that all tests in a browser share: starting one costs as much as the rest of such a test."""

from collections.abc import Iterator

import pytest

from docs.pictures.browser import Browser, find_browser, open_browser

FOREIGN_SITE = "evil.example"
# The browser finds these host names on this machine.
RESOLVER = f"--host-resolver-rules=MAP {FOREIGN_SITE} 127.0.0.1"


@pytest.fixture
def browser(running_browser: Browser) -> Iterator[Browser]:
    """A browser that has opened nothing yet."""
    running_browser.attach()
    yield running_browser
    running_browser.detach()


@pytest.fixture(scope="session")
def running_browser() -> Iterator[Browser]:
    """A browser; it keeps running between tests."""
    if not (program := find_browser()):
        pytest.skip("Chromium (Debian: apt install chromium)")
    with open_browser(program, RESOLVER) as browser:
        yield browser
