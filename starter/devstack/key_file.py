"""The key files of an embedded stack; `stack.json` holds no keys."""

from base64 import b64encode
from pathlib import Path
from secrets import token_bytes, token_hex

from commerce.settings import Settings
from starter.connection.encryption_keys import read_keys
from starter.devstack.data_folder import write_private

FILE = "encryption.keys"
LINKS_FILE = "links.keys"
ADDRESSES_FILE = "addresses.keys"
WAREHOUSE_FILE = "warehouse.secrets"
KEY_BYTES = 32


def prepare(data_dir: Path, settings: Settings) -> Path:
    """Return the key file of this stack, creating or extending it if necessary. Raises SettingsError.

    It is the file named in the settings, or one in the data folder. There, keys from the variable come first and older
    keys stay, because runs may be encrypted with them. If there is no key at all, one is generated.
    """
    given, own_file = read_keys(settings), settings.encryption_keys_file
    if own_file and not settings.encryption_keys.get_secret_value():
        return own_file.resolve()
    file = data_dir / FILE
    kept = read_keys(Settings(encryption_keys_file=file)) if file.exists() else []
    keys = list(dict.fromkeys([*given, *kept])) or [token_bytes(KEY_BYTES)]
    if keys != kept:
        write_private(file, "".join(f"{b64encode(key).decode()}\n" for key in keys))
    return file


def prepare_own(data_dir: Path) -> None:
    """Create, if necessary, the files with the keys of links in mails, of digests, and of the warehouse's answers."""
    for name in (LINKS_FILE, ADDRESSES_FILE, WAREHOUSE_FILE):
        if not (data_dir / name).exists():
            write_private(data_dir / name, f"{token_hex(KEY_BYTES)}\n")
