"""Names: normal form, comparison, and the seal that shows the broker nothing, not even their length."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.keys import BadCiphertext, BadEncoding, aead_seal
from mesh_protocol.names import (
    check_mesh_name,
    check_name,
    compare_form,
    member_subject,
    open_name,
    pack_name,
    seal_name,
    unpack_name,
)
from mesh_protocol.padding import pad
from mesh_protocol.pae import lst, pae
from mesh_samples import HERE

KEY, NONCE, SUBJECT = HERE.seed("name key"), bytes(24), HERE.salt
SHOWABLE = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=60)


@given(SHOWABLE)
def test_a_sealed_name_opens_to_the_same_name(name):
    sealed = seal_name(KEY, SUBJECT, name, NONCE)
    assert len(sealed) == 24 + 256 + 16
    assert open_name(KEY, SUBJECT, sealed) == name


def test_a_name_opens_for_its_subject_and_key_only():
    sealed = seal_name(KEY, SUBJECT, "alice", NONCE)
    for key, subject, data in (
        (bytes(32), SUBJECT, sealed),
        (KEY, member_subject(HERE.member("alice"), SUBJECT), sealed),
        (KEY, b"", sealed),
        (KEY, SUBJECT, sealed[:-1] + bytes([sealed[-1] ^ 1])),
    ):
        with pytest.raises(BadCiphertext):
            open_name(key, subject, data)
    for data in (b"", sealed[:-1], sealed + b"\0"):
        with pytest.raises(BadEncoding):
            open_name(KEY, SUBJECT, data)


def test_a_members_subject_binds_member_and_mesh():
    with pytest.raises(BadEncoding):
        member_subject(bytes(15), SUBJECT)
    with pytest.raises(BadEncoding):
        member_subject(HERE.member("alice"), bytes(15))


@pytest.mark.parametrize(
    "name",
    ["", "a\nb", "a\0", "\x1b[31m", "a\u202eb", "a\u200bb", "a\u2028b", "\ue000", "x" * 241, "ä" * 121, "\ud800"],
)
def test_what_may_not_be_shown_is_neither_sealed_nor_opened(name):
    with pytest.raises(BadEncoding):
        pack_name(name)
    data = lst(name.encode("utf-8", "surrogatepass"))
    sealed = NONCE + aead_seal(KEY, NONCE, pae("name", SUBJECT), pad(data)[:256])
    with pytest.raises(BadEncoding):
        open_name(KEY, SUBJECT, sealed)


@pytest.mark.parametrize(
    "padded",
    [
        b"",
        bytes(256),
        pad(lst(b"a")) + b"\0",
        pad(lst(b"a"))[:-1] + b"\1",
        pad(lst(b"a", b"b")),
        pad(lst()),
        pad(lst(b"\xff")),
    ],
    ids=lambda padded: f"{len(padded)}-{padded[:1].hex()}-{padded[-1:].hex()}",
)
def test_a_malformed_padded_name_is_refused(padded):
    with pytest.raises(BadEncoding):
        unpack_name(padded)


@given(st.text(max_size=40))
def test_a_checked_name_is_in_normal_form_and_stays_so(name):
    try:
        normal = check_name(name)
    except BadEncoding:
        return
    assert unicodedata.is_normalized("NFKC", normal)
    assert check_name(normal) == normal
    assert 1 <= len(normal) <= 32
    assert check_mesh_name(normal) == normal
    assert compare_form(normal) == compare_form(normal.swapcase()) or not normal.isascii()


@pytest.mark.parametrize("name", ["team one", "Büro", "x", "n" * 48, "ops.eu-west_1"])
def test_mesh_names_that_are_taken(name):
    assert check_mesh_name(name) == name


@pytest.mark.parametrize("name", ["", " team", "team ", "a  b", "n" * 49, "a/b", "a\tb", "😀", "a\u200fb"])
def test_mesh_names_that_are_refused(name):
    with pytest.raises(BadEncoding):
        check_mesh_name(name)
