"""Nothing passes the signature check but the very bytes that were signed, under their own name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.errors import SignatureError
from streams.settings import Secret
from streams.state.signature import sign, verify

pytestmark = pytest.mark.fast

KEY = Secret(b"k" * 32)
payloads = st.binary(max_size=200)
names = st.text(max_size=30)


@given(name=names, payload=payloads)
def test_a_signed_payload_comes_back(name: str, payload: bytes) -> None:
    """What was signed is what the check returns."""
    assert verify(KEY, name, sign(KEY, name, payload)) == payload


@given(payload=payloads, data=st.data(), mask=st.integers(1, 255))
def test_any_flipped_byte_is_refused(payload: bytes, data: st.DataObject, mask: int) -> None:
    """Whatever byte is changed, in the head, the code or the payload, the blob is refused."""
    blob = bytearray(sign(KEY, "model/fraud/1", payload))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= mask
    with pytest.raises(SignatureError):
        verify(KEY, "model/fraud/1", bytes(blob))


@given(payload=payloads, data=st.data())
def test_any_cut_or_tail_is_refused(payload: bytes, data: st.DataObject) -> None:
    """A blob that lost its end, or grew one, is refused."""
    blob = sign(KEY, "n", payload)
    with pytest.raises(SignatureError):
        verify(KEY, "n", blob[: data.draw(st.integers(0, len(blob) - 1))])
    with pytest.raises(SignatureError):
        verify(KEY, "n", blob + data.draw(st.binary(min_size=1, max_size=8)))


@given(blob=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(blob: bytes) -> None:
    """Bytes that nobody signed are refused, never returned."""
    with pytest.raises(SignatureError):
        verify(KEY, "n", blob)


@given(payload=payloads, name=names, other=names, key=st.binary(max_size=40))
def test_another_name_or_key_is_refused(payload: bytes, name: str, other: str, key: bytes) -> None:
    """A genuine blob is refused under another name and with another key."""
    blob = sign(KEY, name, payload)
    if other != name:
        with pytest.raises(SignatureError):
            verify(KEY, other, blob)
    if key != KEY.reveal():
        with pytest.raises(SignatureError):
            verify(Secret(key), name, blob)


def test_name_and_payload_do_not_run_into_each_other() -> None:
    """A byte moved from the payload's beginning to the name's end makes another blob."""
    blob = sign(KEY, "a", b"b\x00c")
    with pytest.raises(SignatureError):
        verify(KEY, "a\x00b", blob[:36] + b"c")


def test_the_message_names_the_blob_and_the_way_out() -> None:
    """A refused blob is named, with what to check, and the key is not in the message."""
    with pytest.raises(SignatureError) as caught:
        verify(Secret(b"other"), "model/fraud/7", sign(KEY, "model/fraud/7", b"state"))
    assert "model/fraud/7" in str(caught.value)
    assert "DRIFTLINE_SIGNING_KEY" in str(caught.value)
    assert "other" not in str(caught.value).replace("another", "")


def test_a_secret_never_shows_itself() -> None:
    """A secret prints as stars in every form of text."""
    secret = Secret(b"hunter2")
    assert {str(secret), repr(secret), f"{secret}", f"{secret!r}", f"{[secret]}"[1:-1]} == {"Secret(***)"}
    assert secret
    assert not Secret(b"")
