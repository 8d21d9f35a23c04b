"""The script that makes the pictures; that they are what a run shows, only who looks at them can say."""

import os
from pathlib import Path

import pytest

from docs.pictures.browser import find_browser, open_browser
from tests.forks import completed

pytestmark = pytest.mark.programs

SCRIPT = "docs.pictures.make"


def test_it_tells_its_options(tmp_path: Path) -> None:
    done = completed(SCRIPT, ("--help",), os.environ, tmp_path)
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--to", "--browser", "--port"))


def test_without_a_browser_it_says_what_to_install(tmp_path: Path) -> None:
    done = completed(SCRIPT, ("--to", str(tmp_path)), os.environ | {"PATH": str(tmp_path)}, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "No Chromium is installed: install it (Debian: apt install chromium) or set --browser\n"


def test_a_page_is_photographed_as_it_stands(tmp_path: Path) -> None:
    if not (program := find_browser()):
        pytest.skip("Chromium (Debian: apt install chromium)")
    page = tmp_path / "page.html"
    page.write_text("<title>A page</title><body style='margin:0;background:#00ff00'>")
    with open_browser(program) as opened:
        opened.open(page.as_uri(), width=80, height=60)
        opened.wait("document.title === 'A page'")
        picture = opened.screenshot(width=80, height=60)
    assert picture.startswith(b"\x89PNG") and size(picture) == (80, 60)


def size(png: bytes) -> tuple[int, int]:
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
