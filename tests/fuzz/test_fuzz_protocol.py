"""The sealed and signed formats, the links and the operations on hostile bytes: nothing but the declared error.

The seeds are the frozen vectors of all formats, so every parser also sees the others' bytes.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz_bytes import FEW, FUZZ, frozen, hostile, judge
from mesh_protocol import broker_api, broker_chain, broker_meeting
from mesh_protocol.chain import BODIES, Record, decode_body
from mesh_protocol.envelope import open_envelope, parse_outer
from mesh_protocol.fan import parse_fan, parse_group_outer, read_wrap
from mesh_protocol.group_envelope import open_group
from mesh_protocol.hello import ClientHello, verify_admission, verify_client_hello
from mesh_protocol.invite import SealedName, open_join_request, parse_link
from mesh_protocol.keys import CryptoError, PrekeyPrivate, SignedPrekey, SigningKey
from mesh_protocol.linking import LinkReveal
from mesh_protocol.live import open_live, peek_live
from mesh_protocol.members import extend
from mesh_protocol.names import check_mesh_name, check_name, open_name, unpack_name
from mesh_protocol.op import read_request
from mesh_protocol.padding import require_padding
from mesh_protocol.pae import read_text, read_u64, split_signed, unlst
from mesh_protocol.receipt import Bounce, ReceiptRow, decode_receipts
from mesh_protocol.registry import load_operations, operations_in
from mesh_protocol.seals import EpochSeal, open_keys
from mesh_protocol.tip import Tip, TipRef
from mesh_protocol.wire.errors import MeshError


def with_items(seeds: list[bytes]) -> list[bytes]:
    """The seeds, and what is nested in those that are lists: rows, names, fields."""
    found = set(seeds)
    waiting = list(seeds)
    while waiting:
        try:
            items = unlst(waiting.pop(), max_items=64)
        except CryptoError:
            continue
        waiting += [item for item in items if item not in found and len(item) > 3]
        found.update(waiting)
    return sorted(found, key=lambda data: (len(data), data))


SEEDS = with_items(frozen())
PREKEY = PrekeyPrivate.from_seed(bytes(range(32)))
DEVICE = SigningKey.from_seed(bytes(range(32)))

# Whoever has `encode` has one encoding: what it accepts it writes again, byte for byte.
CANONICAL = {
    "chain record": Record.decode,
    **{f"{name} body": body.decode for name, body in BODIES.items()},
    "link reveal": LinkReveal.decode,
    "envelope": parse_outer,
    "fan-out": parse_fan,
    "wrap": read_wrap,
    "prekey": SignedPrekey.decode,
    "sealed name": SealedName.decode,
    "receipt": ReceiptRow.decode,
    "bounce": Bounce.decode,
    "epoch seal": EpochSeal.decode,
    "tip": Tip.decode,
    "tip reference": TipRef.decode,
}
OTHERS = {
    "number": read_u64,
    "text": read_text,
    "list": lambda data: unlst(data, max_items=4096),
    "signed fields": lambda data: split_signed(data, "dm-sig", 5, 64),
    "padding": lambda data: require_padding(data, len(data) // 2),
    "record's body": lambda data: decode_body(Record.decode(data)),
    "chain of one": lambda data: extend(None, [Record.decode(data)]),
    "opened envelope": lambda data: open_envelope(parse_outer(data), PREKEY),
    "group envelope": parse_group_outer,
    "opened group envelope": lambda data: open_group(parse_group_outer(data), PREKEY, bytes(16)),
    "receipts": decode_receipts,
    "opened seal": lambda data: open_keys(EpochSeal.decode(data), PREKEY, bytes(32)),
    "opened name": lambda data: open_name(bytes(32), b"subject", data),
    "padded name": unpack_name,
    "join request": lambda data: open_join_request(data, DEVICE.public),
    "live route": peek_live,
    "live frame": lambda data: open_live(data, bytes(32)),
}
PARSERS = CANONICAL | OTHERS


@pytest.mark.parametrize("name", PARSERS)
@FUZZ
@given(data=hostile(SEEDS))
def test_a_parser_takes_any_bytes(name, data):
    judge(PARSERS[name], data, CryptoError)


@pytest.mark.parametrize("name", CANONICAL)
@FUZZ
@given(data=hostile(SEEDS))
def test_what_a_parser_accepts_has_no_other_spelling(name, data):
    parsed = judge(CANONICAL[name], data, CryptoError)
    assert parsed is None or parsed.encode() == data


@pytest.mark.parametrize("name", CANONICAL)
def test_a_parser_accepts_some_frozen_bytes(name):
    """Else the fuzzing above would only meet its first refusal."""
    assert any(judge(CANONICAL[name], seed, CryptoError) is not None for seed in SEEDS)


LINK = "mesh://join/1?m=" + "A" * 43 + "&i=" + "A" * 43 + "&b=ws%3A%2F%2F127.0.0.1%3A7777%2F#" + "A" * 43


@FUZZ
@given(hostile([LINK.encode()]) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_an_invite_link_takes_any_text(data):
    text = data.decode("utf-8", "surrogatepass") if data.isascii() else data.decode("latin-1")
    link = judge(lambda _: parse_link(text), data, CryptoError)
    assert link is None or link.url() == text


def test_the_link_that_is_altered_above_is_one():
    assert parse_link(LINK).broker_url == "ws://127.0.0.1:7777/"


@FUZZ
@given(st.text(max_size=300) | st.text(alphabet="aA0-_.~ \u202e\u0301\ufb01\ud800", max_size=40))
def test_a_name_is_normal_or_refused(text):
    for judged in (check_name, check_mesh_name):
        name = judge(lambda _, judged=judged: judged(text), text.encode("utf-8", "surrogatepass"), CryptoError)
        assert name is None or judged(name) == name


SIZES = st.binary(max_size=40) | st.sampled_from([bytes(32), bytes(31), bytes(33), DEVICE.public])
NUMBERS = st.integers(-2, 2**65) | st.sampled_from([0, 1, 65_535, 65_536, 2**63 - 1, 2**63])


@FUZZ
@given(st.tuples(SIZES, SIZES, SIZES, SIZES, SIZES), st.tuples(NUMBERS, NUMBERS, NUMBERS), st.binary(max_size=70))
def test_a_hello_takes_any_fields(sizes, numbers, signature):
    def judged(_):
        hello = ClientHello(*sizes, *numbers)
        assert not verify_admission(bytes(32), hello, signature)
        verify_client_hello(hello, signature)
        pytest.fail("a random signature was accepted")

    judge(judged, signature, CryptoError)


# Operations: what a client or a device may call.

OPERATIONS = {**load_operations(), **operations_in([broker_api, broker_chain, broker_meeting])}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=80)
    | st.sampled_from([b"", bytes(16), bytes(32), bytes(33), bytes(64)])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("method", OPERATIONS)
@FEW
@given(data=st.data())
def test_an_operation_takes_any_parameters(method, data):
    operation = OPERATIONS[method]
    fields = st.sampled_from([*operation.request.__struct_encode_fields__, "of_the_future"])
    params = data.draw(
        st.dictionaries(fields, VALUES, max_size=8) | st.dictionaries(st.text(max_size=6), VALUES, max_size=3)
    )
    body = data.draw(st.binary(max_size=20))
    newer = data.draw(st.booleans())
    request = judge(lambda _: read_request(operation, params, body, newer=newer), body, MeshError)
    assert request is None or type(request) is operation.request
