"""Read the encryption keys from an environment variable or, if it is empty, from a file."""

import logging
import re
from base64 import urlsafe_b64decode
from functools import cache
from pathlib import Path

from commerce.errors import SettingsError
from commerce.settings import PREFIX, Settings

ENCRYPTION_VARIABLE = f"{PREFIX}ENCRYPTION"
KEYS_VARIABLE, KEYS_FILE_VARIABLE = f"{PREFIX}ENCRYPTION_KEYS", f"{PREFIX}ENCRYPTION_KEYS_FILE"
KEY_ADVICE = f"make one with `openssl rand -base64 32`, or store everything unencrypted with {ENCRYPTION_VARIABLE}=off"
KEY_PATTERN = re.compile(r"[\w+/-]{43}=?", re.ASCII)  # 32 bytes in standard or URL-safe base64, padded or not
GROUP_AND_OTHERS = 0o077  # the permission bits of everybody but the owner
SECRETS_DIR = Path("/run/secrets")  # mounted by an orchestrator, which restricts access itself

log = logging.getLogger(__name__)


def read_keys(settings: Settings) -> list[bytes]:
    """Return the keys from the variable, or else from the file, newest first. Raises SettingsError."""
    variable, encoded = _encoded_keys(settings)
    for number, key in enumerate(encoded, 1):
        if not KEY_PATTERN.fullmatch(key):
            raise SettingsError(f"{variable}: key {number} is not base64 of 32 bytes; {KEY_ADVICE}")
    return [urlsafe_b64decode(f"{key[:43]}=") for key in encoded]


def file_open_to_others(settings: Settings) -> Path | None:
    """Return the key file if users other than its owner have access to it, else None. Raises OSError."""
    file = settings.encryption_keys_file
    return file if file and _is_open_to_others(file) else None


def _encoded_keys(settings: Settings) -> tuple[str, list[str]]:
    """Return the variable that the keys come from, and the keys, still in base64."""
    if keys := re.findall(r"[^\s,]+", settings.encryption_keys.get_secret_value()):
        return KEYS_VARIABLE, keys
    return KEYS_FILE_VARIABLE, _read_lines(settings.encryption_keys_file) if settings.encryption_keys_file else []


def _read_lines(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text().splitlines()]
        if _is_open_to_others(file):
            _warn_about_permissions(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"{KEYS_FILE_VARIABLE}: {file} cannot be read: {reason}") from None
    return [line for line in lines if line and not line.startswith("#")]


def _is_open_to_others(file: Path) -> bool:
    return bool(file.stat().st_mode & GROUP_AND_OTHERS) and not file.is_relative_to(SECRETS_DIR)


@cache  # warn once, however often a program reads its keys
def _warn_about_permissions(file: Path) -> None:
    log.warning("%s: other users can read %s; set its mode to 600", KEYS_FILE_VARIABLE, file)
