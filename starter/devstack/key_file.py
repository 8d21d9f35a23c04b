"""The encryption keys of an embedded stack: in a file of its own, as `stack.json` may hold none."""

from base64 import b64encode
from pathlib import Path
from secrets import token_bytes

from commerce.settings import Settings
from starter.connection.encryption_keys import read_keys
from starter.devstack.data_folder import write_private

FILE = "encryption.keys"
KEY_BYTES = 32


def prepare(data_dir: Path, settings: Settings) -> Path:
    """Return the file with the keys of this stack; raises SettingsError.

    It is the file that the settings name, or one in the data folder: keys given by variable come first there, and
    those of earlier times stay, as runs may be encrypted with them. Without any, one is made.
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
