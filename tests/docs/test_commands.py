"""Every command on the pages exists and prints what the page shows. They run one by one on one embedded stack.

A block whose commands cannot be tried here says why in its first line, which readers see too: "# Not tried by the
tests: …". A few commands are tried elsewhere, see ELSEWHERE.
"""

import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from commerce.settings import read_stack
from starter.cli.app import app
from starter.demo.sample_carts import write_sample_carts
from starter.demo.sample_shop import CURRENCY, write_sample_shop
from starter.devstack import postgres
from tests.documents import PAGES, UNTRIED, ShownCommand, commands, parsed, shown_commands
from tests.forks import completed
from tests.paths import ROOT

ANYTHING = "…"
START_SECONDS = 120
COMMAND_SECONDS = 120
# Commands that another test tries, or this one at its start: the start of the command, and the file.
ELSEWHERE = {
    "make demo": "tests/system/test_demo.py",
    "make test": ".ci/run",
    ". .venv/bin/activate": "Makefile",
    "commerce up": "tests/docs/test_commands.py",
    "python -m pytest tests/workflows/test_tutorial.py": "tests/workflows/test_tutorial.py",
}
PAGES_WITH_THEIR_OWN_TEST = {"typescript": "tests/docs/test_typescript.py"}
# In the order in which a newcomer reads them; the other pages follow.
FIRST = ("README", "tutorial", "concepts")
# No other program is run: a page must not change the machine that runs its tests.
ALLOWED_PROGRAMS = {"commerce", "curl", "temporal", "python3", "pg_basebackup", "mkdir", "cp"}
OPTIONAL_PROGRAMS = ("curl", "temporal")
SHELL_SYNTAX = re.compile(r"[|&;<>$`*?\n]")
PLACEHOLDER = re.compile(r"^[A-Z]+$|…")
TEXTS = [(page.stem, text) for page in PAGES for text in commands(page) if text.startswith("commerce ")]
INLINE = sorted(
    {
        (page.stem, part.content)
        for page in PAGES
        for token in parsed(page)
        for part in token.children or ()
        if part.type == "code_inline" and part.content.startswith("commerce ")
    }
)


def commands_to_try() -> dict[ShownCommand, str]:
    """Return the commands that this module tries, each once, with its page."""
    pages = sorted(PAGES, key=lambda page: (FIRST.index(page.stem) if page.stem in FIRST else len(FIRST), page.stem))
    return {
        found: page.stem
        for page in pages
        for found in shown_commands(page)
        if page.stem not in PAGES_WITH_THEIR_OWN_TEST
        and found.untried is None
        and not found.command.startswith(tuple(ELSEWHERE))
    }


@pytest.mark.parametrize(("page", "text"), TEXTS, ids=[f"{page}-{text[:60]}" for page, text in TEXTS])
def test_a_command_line_is_valid(page: str, text: str) -> None:
    words = shlex.split(text)[1:]
    command, arguments = found(words[: words.index(">")] if ">" in words else words)
    command.make_context(command.name, arguments)  # parses the arguments, and raises an error for unknown ones


@pytest.mark.parametrize(("page", "text"), INLINE, ids=[f"{page}-{text}" for page, text in INLINE])
def test_a_mentioned_command_and_its_options_exist(page: str, text: str) -> None:
    if PLACEHOLDER.search(text.split()[1]):
        return  # not a real command
    command, arguments = found(shlex.split(text)[1:])
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {argument for argument in arguments if argument.startswith("--")} - known <= {"--help"}


def found(words: list[str]) -> tuple[typer.core.TyperCommand, list[str]]:
    """Return the command that these words name, and the remaining words."""
    command = typer.main.get_command(app)
    while isinstance(command, TyperGroup) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    assert not (isinstance(command, TyperGroup) and words and not words[0].startswith(("-", ANYTHING))), words
    return command, words  # type: ignore[return-value]


def test_tried_commands_use_allowed_programs_only() -> None:
    others = [
        f"{page}: {found.command}"
        for found, page in commands_to_try().items()
        if program_of(found) not in ALLOWED_PROGRAMS
    ]
    assert not others, f"start their blocks with: {UNTRIED}why"


def program_of(found: ShownCommand) -> str:
    return found.command.split()[0]


def test_untried_blocks_give_a_reason() -> None:
    assert all(found.untried != "" for page in PAGES for found in shown_commands(page))
    assert all((ROOT / place).exists() for place in (*ELSEWHERE.values(), *PAGES_WITH_THEIR_OWN_TEST.values()))


class Terminal:
    """A shell as the README's quick start sets it up, with a running stack."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data_dir = folder, folder / ".commerce"
        tools = folder / "tools"
        tools.mkdir()
        python = shlex.quote(sys.executable)
        server = next(Path(part) for part in postgres.command(folder, 0) if part.endswith("/bin/postgres"))
        programs = {"python3": python, "commerce": f"{python} -m starter"}
        programs["pg_basebackup"] = shlex.quote(str(server.with_name("pg_basebackup")))
        for name, program in programs.items():
            (tools / name).write_text(f'#!/bin/sh\nexec {program} "$@"\n')
            (tools / name).chmod(stat.S_IRWXU)
        places = [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("COMMERCE_", "TEMPORAL_"))} | {
            "PATH": os.pathsep.join(places),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
            "NO_PROXY": "*",
        }

    def up(self) -> subprocess.Popen[bytes]:
        """Start the stack, with paused schedules."""
        with (self.folder / "up.log").open("w") as log:
            command = [sys.executable, "-m", "starter", "up", "--port", "0", "--no-schedules"]
            stack = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not (facts := read_stack(self.data_dir)):
            assert stack.poll() is None and time.monotonic() < deadline, (self.folder / "up.log").read_text()
            time.sleep(0.1)
        self.api_url = facts["api_url"]
        self.environment["TEMPORAL_ADDRESS"] = facts["temporal_address"]
        self.environment["SUPERUSER_URL"] = facts["superuser_url"]
        return stack

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command; port 9000 on the pages stands for the port of this stack's API."""
        here = command.replace("http://localhost:9000", self.api_url)
        if here.startswith("commerce ") and not SHELL_SYNTAX.search(here):
            return completed("starter", tuple(shlex.split(here)[1:]), self.environment, self.folder)
        return subprocess.run(
            ["/bin/sh", "-c", here],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal and a running stack with the demo's shop, including its undone order."""
    made = Terminal(tmp_path)
    stack = made.up()
    try:
        write_sample_shop(made.data_dir)
        write_sample_carts(made.data_dir, CURRENCY)
        for file in ("inventory", "orders"):
            assert made.type(f"commerce import {file} .commerce/sample-{file}.csv").returncode == 0
        assert made.type("""commerce start order-processing --input '{"order_id": "S1058"}'""").returncode == 1
        yield made
    finally:
        stack.send_signal(signal.SIGTERM)
        try:
            stack.wait(timeout=60)
        except subprocess.TimeoutExpired:
            stack.kill()
            stack.wait()


@pytest.mark.timeout(1200)
@pytest.mark.waits(40)
@pytest.mark.programs
def test_every_command_does_what_the_page_shows(terminal: Terminal) -> None:
    missing = {name for name in OPTIONAL_PROGRAMS if not shutil.which(name, path=terminal.environment["PATH"])}
    for found, page in commands_to_try().items():
        if program_of(found) not in ALLOWED_PROGRAMS - missing:
            continue
        done = terminal.type(found.command)
        report = f"{page}: {found.command}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, report
        assert re.fullmatch(pattern(found.shown), done.stdout.strip(), re.DOTALL), report


def pattern(shown: str) -> str:
    """Return a pattern for an output: … matches anything, and so does an output that is not shown."""
    lines = shown.strip() or ANYTHING
    return ".*".join(map(re.escape, lines.split(ANYTHING)))
