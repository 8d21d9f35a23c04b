"""Where encryption keys come from: a variable, else a file."""

import logging
import re
from base64 import urlsafe_b64decode
from functools import cache
from pathlib import Path

from commerce.errors import SettingsError
from commerce.settings import PREFIX, Settings

ENCRYPTION_VARIABLE = f"{PREFIX}ENCRYPTION"
KEYS_VARIABLE, KEYS_FILE_VARIABLE = f"{PREFIX}ENCRYPTION_KEYS", f"{PREFIX}ENCRYPTION_KEYS_FILE"
KEY_ADVICE = f"make one with `openssl rand -base64 32`, or store everything in clear with {ENCRYPTION_VARIABLE}=off"
KEY = re.compile(r"[\w+/-]{43}=?", re.ASCII)  # 32 bytes in either base64, padded or not
OTHERS = 0o077  # the bits of a file's mode that are about anybody but its owner
MOUNTED = Path("/run/secrets")  # by an orchestrator, which itself sees to it that nobody else gets them

log = logging.getLogger(__name__)


def read_keys(settings: Settings) -> list[bytes]:
    """Return the keys of the variable, else those of the file, newest first; raises SettingsError."""
    variable, written = _written(settings)
    for number, key in enumerate(written, 1):
        if not KEY.fullmatch(key):
            raise SettingsError(f"{variable}: key {number} is not base64 of 32 bytes; {KEY_ADVICE}")
    return [urlsafe_b64decode(f"{key[:43]}=") for key in written]


def file_open_to_others(settings: Settings) -> Path | None:
    """Return the file of the keys if anybody but its owner can do something with it; raises OSError."""
    file = settings.encryption_keys_file
    return file if file and _is_open_to_others(file) else None


def _written(settings: Settings) -> tuple[str, list[str]]:
    """Return the variable that says the keys, and the keys as they are written."""
    if given := re.findall(r"[^\s,]+", settings.encryption_keys.get_secret_value()):
        return KEYS_VARIABLE, given
    return KEYS_FILE_VARIABLE, _lines(settings.encryption_keys_file) if settings.encryption_keys_file else []


def _lines(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text().splitlines()]
        if _is_open_to_others(file):
            _warn_of_readers(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"{KEYS_FILE_VARIABLE}: {file} cannot be read: {reason}") from None
    return [line for line in lines if line and not line.startswith("#")]


def _is_open_to_others(file: Path) -> bool:
    return bool(file.stat().st_mode & OTHERS) and not file.is_relative_to(MOUNTED)


@cache  # once, however often a process reads its keys
def _warn_of_readers(file: Path) -> None:
    log.warning("%s: others can read %s; its mode should be 600", KEYS_FILE_VARIABLE, file)
