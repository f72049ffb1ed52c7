"""Every decoder takes any bytes: it returns or raises CryptoError, and nothing else ever comes out."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_mutations import items_of
from mesh_protocol.attachments import unpack_text
from mesh_protocol.chain import BODIES, Record, decode_body
from mesh_protocol.envelope import open_envelope, parse_outer
from mesh_protocol.fan import parse_fan, parse_group_outer, read_wrap
from mesh_protocol.forks import judge
from mesh_protocol.group_envelope import open_group
from mesh_protocol.invite import SealedName, claimed_invite, open_join_request, parse_link
from mesh_protocol.key_request import open_key_request
from mesh_protocol.keys import CryptoError, SignedPrekey, verify
from mesh_protocol.linking import LinkReveal
from mesh_protocol.live import open_live, peek_live
from mesh_protocol.meeting import MeetingSeal, parse_meeting_link
from mesh_protocol.names import open_name, unpack_name
from mesh_protocol.pae import LABELS, lst, pae, read_text, read_u64, unlst
from mesh_protocol.prekeys import OneTimeBatch, unpack_given
from mesh_protocol.profile import Profile
from mesh_protocol.receipt import Bounce, ReceiptRow, decode_receipts
from mesh_protocol.safety import parse_code
from mesh_protocol.seals import EpochSeal, open_keys
from mesh_protocol.standing import decode_standings
from mesh_protocol.tip import Tip, TipRef
from mesh_protocol.void import decode_void
from mesh_protocol.witness import Witness, decode_ask
from mesh_protocol.words import from_words
from mesh_samples import HERE
from mesh_targets import targets
from meshd.audit_entry import read_entry
from vectors_links import meeting

BOB = HERE.prekey("bob")
DECODERS: dict[str, Callable[[bytes], object]] = {
    "u64": read_u64,
    "text": read_text,
    "list": lambda data: unlst(data, max_items=64),
    "prekey": SignedPrekey.decode,
    "outer": parse_outer,
    "envelope": lambda data: open_envelope(parse_outer(data), BOB),
    "group outer": parse_group_outer,
    "group envelope": lambda data: open_group(parse_group_outer(data), BOB, HERE.member("bob")),
    "fan-out": parse_fan,
    "wrap": read_wrap,
    "receipts": decode_receipts,
    "receipt row": ReceiptRow.decode,
    "bounce": Bounce.decode,
    "tip": Tip.decode,
    "tip ref": TipRef.decode,
    "record": lambda data: decode_body(Record.decode(data)),
    **{kind: body.decode for kind, body in BODIES.items()},
    "judged chain": lambda data: judge(HERE.mesh_id, [*HERE.records, Record.decode(data)]),
    "key request": lambda data: open_key_request(data, HERE.state),
    "link reveal": LinkReveal.decode,
    "safety code": lambda data: parse_code(data.decode("latin-1")),
    "words": lambda data: from_words(data.decode("latin-1")),
    "seal": EpochSeal.decode,
    "opened seal": lambda data: open_keys(EpochSeal.decode(data), BOB, HERE.mesh_id),
    "name": lambda data: open_name(bytes(32), b"", data),
    "padded name": unpack_name,
    "sealed name": SealedName.decode,
    "join request": lambda data: open_join_request(data, HERE.key("alice").public),
    "claimed invite": claimed_invite,
    "link": lambda data: parse_link(data.decode("latin-1")),
    "meeting link": lambda data: parse_meeting_link(data.decode("latin-1")),
    "live route": peek_live,
    "live frame": lambda data: open_live(data, bytes(32)),
    "profile": Profile.decode,
    "text with files": unpack_text,
    "void": decode_void,
    "one-time batch": OneTimeBatch.decode,
    "one-time key": unpack_given,
    "ask": decode_ask,
    "witness": Witness.decode,
    "standings": decode_standings,
    "meeting frame": lambda data: MeetingSeal(meeting(), "own").open(data),
    "audit entry": lambda data: read_entry(data, HERE.key("bob").public),
    "signature": lambda data: verify(data[:32], data[96:], data[32:96]),
}
GOOD = [target.good for target in targets().values()] + [HERE.receipt_row.encode(), HERE.bounce.encode()]
FIELD = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([bytes(8), bytes(16), bytes(32), bytes(64), b"\x01", b"\xff" * 8, b"member", b"now", b"stored"]),
    st.sampled_from(GOOD),
)


def shaped(count):
    """Lists and labelled lists with as many fields as the formats have, filled with odd fields."""
    fields = st.lists(FIELD, min_size=count, max_size=count)
    return st.one_of(
        fields.map(lambda each: lst(*each)),
        st.tuples(st.sampled_from(sorted(LABELS)), fields, st.binary(max_size=64)).map(
            lambda each: pae(each[0], *each[1]) + each[2]
        ),
    )


BYTES = st.one_of(st.binary(max_size=300), st.integers(0, 21).flatmap(shaped))


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=60, deadline=None)
@given(data=BYTES)
def test_any_bytes_are_read_or_refused(name, data):
    with contextlib.suppress(CryptoError):
        DECODERS[name](data)


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_reads_or_refuses_every_other_objects_bytes(name):
    for good in GOOD:
        for data in (good, good[:-1], good[8:], *items_of(good)[0]):
            with contextlib.suppress(CryptoError):
                DECODERS[name](data)


@pytest.mark.parametrize("name", [name for name in DECODERS if name != "text"])
def test_a_megabyte_of_rubbish_is_refused(name):
    for data in (bytes(2**20), b"\xff" * 2**20, b"\x01" + bytes(2**20)):
        with pytest.raises(CryptoError):
            DECODERS[name](data)
