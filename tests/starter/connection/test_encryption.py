"""Encrypted payloads: their form, where keys come from, and what a payload that cannot be read is answered with."""

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
CLEAR = Payload(metadata={"encoding": b"json/plain"}, data=b'{"order_id": "1001"}')
WRITTEN = base64.b64encode(b"\xfb\xff" * 16).decode()  # with both letters in which the two base64s differ


async def sealed(codec: Encryption, payload: Payload = CLEAR) -> Payload:
    return (await codec.encode([payload]))[0]


async def opened(codec: Encryption, payload: Payload) -> Payload:
    return (await codec.decode([payload]))[0]


def of(**variables: str) -> Encryption:
    """Return the codec of COMMERCE_ENCRYPTION_KEYS and so on."""
    return Encryption.from_settings(
        load_settings({f"COMMERCE_ENCRYPTION{name}": value for name, value in variables.items()})
    )


class TestForm:
    async def test_it_is_the_one_that_temporal_published(self) -> None:
        payload = await sealed(Encryption([NEW, OLD]))
        assert dict(payload.metadata) == {
            "encoding": b"binary/encrypted",
            "encryption-key-id": hashlib.sha256(NEW).hexdigest()[:16].encode(),
        }
        assert Payload.FromString(AESGCM(NEW).decrypt(payload.data[:12], payload.data[12:], None)) == CLEAR

    @given(metadata=st.dictionaries(st.text(max_size=9), st.binary(max_size=9), max_size=3), data=st.binary())
    async def test_what_was_encrypted_comes_back(self, metadata: dict[str, bytes], data: bytes) -> None:
        codec, payload = Encryption([NEW]), Payload(metadata=metadata, data=data)
        assert await opened(codec, await sealed(codec, payload)) == payload

    async def test_the_same_twice_is_not_the_same(self) -> None:
        codec = Encryption([NEW])
        assert (await sealed(codec)).data != (await sealed(codec)).data


class TestReading:
    async def test_all_keys_decrypt(self) -> None:
        assert await opened(Encryption([NEW, OLD]), await sealed(Encryption([OLD]))) == CLEAR

    async def test_what_is_in_clear_stays_as_it_is(self) -> None:
        assert await opened(Encryption([NEW]), CLEAR) == CLEAR

    async def test_a_key_that_is_not_there_is_named(self) -> None:
        payload = await sealed(Encryption([OLD]))
        with pytest.raises(MissingKey) as error:
            await opened(Encryption([NEW]), payload)
        wanted = f"Encryption key {key_id(OLD)} is missing: add it to COMMERCE_ENCRYPTION_KEYS"
        assert str(error.value) == wanted

    async def test_the_name_of_a_key_may_be_anything_and_is_shown_in_one_short_line(self) -> None:
        payload = Payload(metadata={"encoding": b"binary/encrypted", "encryption-key-id": b"a\nb \xff" + b"c" * 99})
        with pytest.raises(MissingKey, match=r"^Encryption key a\?b\?\?c{59} is missing: [^\n]*$"):
            await opened(Encryption([NEW]), payload)

    @pytest.mark.parametrize("data", [b"", b"short", b"x" * 200])
    async def test_rubbish_under_our_key_is_handed_on(self, data: bytes) -> None:
        rubbish = await sealed(Encryption([NEW]))
        rubbish.data = data
        assert await opened(Encryption([NEW]), rubbish) == rubbish

    async def test_no_payload_at_all_under_our_key_is_handed_on(self) -> None:
        rubbish = await sealed(Encryption([NEW]))
        rubbish.data = b"n" * 12 + AESGCM(NEW).encrypt(b"n" * 12, b"\xff no protobuf", None)
        assert await opened(Encryption([NEW]), rubbish) == rubbish


class TestOff:
    async def test_nothing_is_encrypted_but_what_was_is_read(self) -> None:
        off = of(**{"": "off", "_KEYS": base64.b64encode(OLD).decode()})
        assert await sealed(off) == CLEAR
        assert await opened(off, await sealed(Encryption([OLD]))) == CLEAR

    async def test_without_any_key_what_was_encrypted_names_its_key(self) -> None:
        with pytest.raises(MissingKey, match=key_id(OLD)):
            await opened(of(**{"": "off"}), await sealed(Encryption([OLD])))


class TestKeys:
    @pytest.mark.parametrize("other", ["+/", "-_"])
    @pytest.mark.parametrize("end", ["=", ""])
    def test_each_kind_of_base64_is_read(self, other: str, end: str) -> None:
        text = WRITTEN.rstrip("=").translate(str.maketrans("+/", other)) + end
        assert of(_KEYS=text).key_ids == (key_id(b"\xfb\xff" * 16),)

    def test_many_are_separated_by_commas_or_blanks(self) -> None:
        texts = [base64.b64encode(bytes([number]) * 32).decode() for number in range(4)]
        assert of(_KEYS=" {}, {},{}\n{} ,".format(*texts)).key_ids == tuple(key_id(bytes([n]) * 32) for n in range(4))

    def test_a_file_has_one_in_each_line(self, tmp_path: Path) -> None:
        newer, older = (base64.b64encode(key).decode() for key in (NEW, OLD))
        file = private(tmp_path, f"# newest first\n{newer}\n\n  {older}  \n")
        assert of(_KEYS_FILE=str(file)).key_ids == (key_id(NEW), key_id(OLD))

    def test_the_variable_wins_over_the_file(self, tmp_path: Path) -> None:
        assert of(_KEYS=WRITTEN, _KEYS_FILE=str(tmp_path / "none")).key_ids == (key_id(b"\xfb\xff" * 16),)

    @pytest.mark.parametrize(
        "text", ["hunter2", f"{WRITTEN} secret!", WRITTEN[:-2], f"A{WRITTEN}", "!" * 43, f"{'é' * 43}="]
    )
    def test_a_wrong_one_is_told_in_one_line_that_does_not_show_it(self, tmp_path: Path, text: str) -> None:
        for variable, value in {"_KEYS": text, "_KEYS_FILE": str(private(tmp_path, text))}.items():
            with pytest.raises(SettingsError) as error:
                of(**{variable: value})
            assert str(error.value).startswith(f"COMMERCE_ENCRYPTION{variable}: key ")
            assert "is not base64 of 32 bytes" in str(error.value)
            assert "\n" not in str(error.value) and not any(part in str(error.value) for part in text.split())

    def test_without_one_nothing_starts_and_both_ways_out_are_told(self, tmp_path: Path) -> None:
        for variables in ({}, {"_KEYS": " , "}, {"_KEYS_FILE": str(private(tmp_path, "# none yet\n"))}):
            with pytest.raises(SettingsError) as error:
                of(**variables)
            told = str(error.value)
            assert told.startswith("COMMERCE_ENCRYPTION_KEYS ") and "\n" not in told
            assert "`openssl rand -base64 32`" in told and "COMMERCE_ENCRYPTION=off" in told

    def test_a_file_that_cannot_be_read_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        reasons = {"none": "No such file or directory", ".": "Is a directory", "binary": "it is no text"}
        for name, reason in reasons.items():
            with pytest.raises(SettingsError, match=f"^COMMERCE_ENCRYPTION_KEYS_FILE: .* cannot be read: {reason}$"):
                of(_KEYS_FILE=str(tmp_path / name))

    def test_a_file_that_others_can_read_is_only_warned_about(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = private(tmp_path, WRITTEN)
        with caplog.at_level(logging.WARNING, "starter.connection.encryption_keys"):
            of(_KEYS_FILE=str(file))
            assert caplog.messages == []
            file.chmod(0o644)
            for _ in range(2):
                of(_KEYS_FILE=str(file))
        assert caplog.messages == [f"COMMERCE_ENCRYPTION_KEYS_FILE: others can read {file}; its mode should be 600"]


def private(folder: Path, text: str) -> Path:
    file = folder / "keys"
    file.touch(mode=stat.S_IRUSR | stat.S_IWUSR)
    file.write_text(text)
    return file
