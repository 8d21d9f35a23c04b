"""Encrypted payloads: their format, payloads that cannot be decrypted, and where keys come from."""

import base64
import hashlib
import logging
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from commerce.errors import MissingKey, SettingsError
from commerce.settings import load_settings
from starter.connection.encryption import Encryption, key_id

OLD, NEW = b"o" * 32, b"n" * 32
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'{"order_id": "1001"}')
BASE64_KEY = base64.b64encode(
    b"\xfb\xff" * 16
).decode()  # has both characters that differ between standard and URL-safe base64


async def encrypt(codec: Encryption, payload: Payload = PLAIN) -> Payload:
    return (await codec.encode([payload]))[0]


async def decrypt(codec: Encryption, payload: Payload) -> Payload:
    return (await codec.decode([payload]))[0]


def codec_from(**variables: str) -> Encryption:
    """Return the codec for these variables, without the prefix COMMERCE_ENCRYPTION."""
    return Encryption.from_settings(
        load_settings({f"COMMERCE_ENCRYPTION{name}": value for name, value in variables.items()})
    )


class TestFormat:
    async def test_it_is_the_one_of_temporals_samples(self) -> None:
        payload = await encrypt(Encryption([NEW, OLD]))
        assert dict(payload.metadata) == {
            "encoding": b"binary/encrypted",
            "encryption-key-id": hashlib.sha256(NEW).hexdigest()[:16].encode(),
        }
        assert Payload.FromString(AESGCM(NEW).decrypt(payload.data[:12], payload.data[12:], None)) == PLAIN

    @given(metadata=st.dictionaries(st.text(max_size=9), st.binary(max_size=9), max_size=3), data=st.binary())
    async def test_decrypting_returns_the_original_payload(self, metadata: dict[str, bytes], data: bytes) -> None:
        codec, payload = Encryption([NEW]), Payload(metadata=metadata, data=data)
        assert await decrypt(codec, await encrypt(codec, payload)) == payload

    async def test_encrypting_the_same_payload_twice_gives_different_data(self) -> None:
        codec = Encryption([NEW])
        assert (await encrypt(codec)).data != (await encrypt(codec)).data


class TestDecryption:
    async def test_all_keys_decrypt(self) -> None:
        assert await decrypt(Encryption([NEW, OLD]), await encrypt(Encryption([OLD]))) == PLAIN

    async def test_unencrypted_payloads_are_returned_unchanged(self) -> None:
        assert await decrypt(Encryption([NEW]), PLAIN) == PLAIN

    async def test_the_error_names_the_missing_key(self) -> None:
        payload = await encrypt(Encryption([OLD]))
        with pytest.raises(MissingKey) as error:
            await decrypt(Encryption([NEW]), payload)
        wanted = f"Encryption key {key_id(OLD)} is missing: add it to COMMERCE_ENCRYPTION_KEYS"
        assert str(error.value) == wanted

    async def test_a_forged_key_id_is_shown_in_one_short_line(self) -> None:
        payload = Payload(metadata={"encoding": b"binary/encrypted", "encryption-key-id": b"a\nb \xff" + b"c" * 99})
        with pytest.raises(MissingKey, match=r"^Encryption key a\?b\?\?c{59} is missing: [^\n]*$"):
            await decrypt(Encryption([NEW]), payload)

    @pytest.mark.parametrize("data", [b"", b"short", b"x" * 200])
    async def test_corrupt_data_is_returned_unchanged(self, data: bytes) -> None:
        corrupt = await encrypt(Encryption([NEW]))
        corrupt.data = data
        assert await decrypt(Encryption([NEW]), corrupt) == corrupt

    async def test_encrypted_data_that_is_no_payload_is_returned_unchanged(self) -> None:
        corrupt = await encrypt(Encryption([NEW]))
        corrupt.data = b"n" * 12 + AESGCM(NEW).encrypt(b"n" * 12, b"\xff no protobuf", None)
        assert await decrypt(Encryption([NEW]), corrupt) == corrupt


class TestEncryptionOff:
    async def test_nothing_is_encrypted_but_encrypted_payloads_are_decrypted(self) -> None:
        off = codec_from(**{"": "off", "_KEYS": base64.b64encode(OLD).decode()})
        assert await encrypt(off) == PLAIN
        assert await decrypt(off, await encrypt(Encryption([OLD]))) == PLAIN

    async def test_without_keys_the_error_names_the_missing_key(self) -> None:
        with pytest.raises(MissingKey, match=key_id(OLD)):
            await decrypt(codec_from(**{"": "off"}), await encrypt(Encryption([OLD])))


class TestKeys:
    @pytest.mark.parametrize("other", ["+/", "-_"])
    @pytest.mark.parametrize("end", ["=", ""])
    def test_every_variant_of_base64_is_accepted(self, other: str, end: str) -> None:
        text = BASE64_KEY.rstrip("=").translate(str.maketrans("+/", other)) + end
        assert codec_from(_KEYS=text).key_ids == (key_id(b"\xfb\xff" * 16),)

    def test_several_are_separated_by_commas_or_white_space(self) -> None:
        texts = [base64.b64encode(bytes([number]) * 32).decode() for number in range(4)]
        assert codec_from(_KEYS=" {}, {},{}\n{} ,".format(*texts)).key_ids == tuple(
            key_id(bytes([n]) * 32) for n in range(4)
        )

    def test_a_file_has_one_per_line(self, tmp_path: Path) -> None:
        newer, older = (base64.b64encode(key).decode() for key in (NEW, OLD))
        file = private_file(tmp_path, f"# newest first\n{newer}\n\n  {older}  \n")
        assert codec_from(_KEYS_FILE=str(file)).key_ids == (key_id(NEW), key_id(OLD))

    def test_the_variable_wins_over_the_file(self, tmp_path: Path) -> None:
        assert codec_from(_KEYS=BASE64_KEY, _KEYS_FILE=str(tmp_path / "none")).key_ids == (key_id(b"\xfb\xff" * 16),)

    @pytest.mark.parametrize(
        "text", ["hunter2", f"{BASE64_KEY} secret!", BASE64_KEY[:-2], f"A{BASE64_KEY}", "!" * 43, f"{'é' * 43}="]
    )
    def test_an_invalid_key_is_a_one_line_error_that_does_not_show_it(self, tmp_path: Path, text: str) -> None:
        for variable, value in {"_KEYS": text, "_KEYS_FILE": str(private_file(tmp_path, text))}.items():
            with pytest.raises(SettingsError) as error:
                codec_from(**{variable: value})
            assert str(error.value).startswith(f"COMMERCE_ENCRYPTION{variable}: key ")
            assert "is not base64 of 32 bytes" in str(error.value)
            assert "\n" not in str(error.value) and not any(part in str(error.value) for part in text.split())

    def test_the_error_for_a_missing_key_shows_both_remedies(self, tmp_path: Path) -> None:
        for variables in ({}, {"_KEYS": " , "}, {"_KEYS_FILE": str(private_file(tmp_path, "# none yet\n"))}):
            with pytest.raises(SettingsError) as error:
                codec_from(**variables)
            message = str(error.value)
            assert message.startswith("COMMERCE_ENCRYPTION_KEYS ") and "\n" not in message
            assert "`openssl rand -base64 32`" in message and "COMMERCE_ENCRYPTION=off" in message

    def test_a_file_that_cannot_be_read_is_an_error_with_the_reason(self, tmp_path: Path) -> None:
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        reasons = {"none": "No such file or directory", ".": "Is a directory", "binary": "it is not text"}
        for name, reason in reasons.items():
            with pytest.raises(SettingsError, match=f"^COMMERCE_ENCRYPTION_KEYS_FILE: .* cannot be read: {reason}$"):
                codec_from(_KEYS_FILE=str(tmp_path / name))

    def test_a_file_that_others_can_read_causes_one_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = private_file(tmp_path, BASE64_KEY)
        with caplog.at_level(logging.WARNING, "starter.connection.encryption_keys"):
            codec_from(_KEYS_FILE=str(file))
            assert caplog.messages == []
            file.chmod(0o644)
            for _ in range(2):
                codec_from(_KEYS_FILE=str(file))
        assert caplog.messages == [f"COMMERCE_ENCRYPTION_KEYS_FILE: other users can read {file}; set its mode to 600"]


def private_file(folder: Path, text: str) -> Path:
    file = folder / "keys"
    file.touch(mode=stat.S_IRUSR | stat.S_IWUSR)
    file.write_text(text)
    return file
