"""The mutual hello: each side's signature covers everything both said."""

from dataclasses import replace

import pytest

from mesh_protocol.hello import (
    BrokerHello,
    admission_proof,
    sign_broker_hello,
    sign_client_hello,
    transcript_hash,
    verify_admission,
    verify_broker_hello,
    verify_client_hello,
)
from mesh_protocol.keys import BadEncoding, BadPeerKey, BadSignature
from mesh_samples import ELSEWHERE, HERE

HELLO = HERE.client_hello
SIGNATURE = sign_client_hello(HELLO, HERE.key("bob"))
ANSWER = HERE.broker_hello

CHANGES = [
    {"broker_key": ELSEWHERE.key("broker").public},
    {"mesh_id": ELSEWHERE.mesh_id},
    {"device": HERE.key("alice").public},
    {"challenge": bytes(32)},
    {"nonce": bytes(32)},
    {"ver_min": 0},
    {"ver_max": 4},
    {"generation": 13},
]


def first_key(change):
    return next(iter(change))


@pytest.mark.parametrize("change", CHANGES, ids=first_key)
def test_a_client_hello_altered_in_any_field_is_refused(change):
    verify_client_hello(HELLO, SIGNATURE)
    with pytest.raises(BadSignature):
        verify_client_hello(replace(HELLO, **change), SIGNATURE)


def test_a_hello_is_signed_by_the_device_it_names():
    with pytest.raises(BadPeerKey):
        sign_client_hello(HELLO, HERE.key("alice"))


def check(answer: BrokerHello, signature: bytes) -> None:
    verify_broker_hello(answer, signature, client_hello=HELLO, client_signature=SIGNATURE)


@pytest.mark.parametrize("change", [{"version": 3}, {"session_id": bytes(16)}, {"server_ms": 0}], ids=first_key)
def test_a_broker_hello_altered_in_any_field_is_refused(change):
    signature = sign_broker_hello(ANSWER, HERE.key("broker"))
    check(ANSWER, signature)
    with pytest.raises(BadSignature):
        check(replace(ANSWER, **change), signature)


@pytest.mark.parametrize("change", CHANGES, ids=first_key)
def test_an_answer_to_another_hello_is_refused(change):
    other = replace(HELLO, **change)
    signer = HERE.key("alice") if "device" in change else HERE.key("bob")
    answer = replace(ANSWER, transcript_hash=transcript_hash(other, sign_client_hello(other, signer)))
    with pytest.raises(BadEncoding, match="another hello"):
        check(answer, sign_broker_hello(answer, HERE.key("broker")))


def test_the_transcript_covers_the_clients_signature():
    other = bytes([SIGNATURE[0] ^ 1]) + SIGNATURE[1:]
    assert transcript_hash(HELLO, SIGNATURE) != transcript_hash(HELLO, other)
    with pytest.raises(BadEncoding):
        transcript_hash(HELLO, SIGNATURE[:63])


def test_another_brokers_answer_is_refused():
    with pytest.raises(BadSignature):
        check(ANSWER, sign_broker_hello(ANSWER, ELSEWHERE.key("broker")))


@pytest.mark.parametrize("version", [0, 4])
def test_a_version_that_was_not_offered_is_refused(version):
    answer = replace(ANSWER, version=version)
    with pytest.raises(BadEncoding, match="not offered"):
        check(answer, sign_broker_hello(answer, HERE.key("broker")))


@pytest.mark.parametrize(
    "change",
    [
        {"ver_min": 4},
        {"ver_max": 65_536},
        {"challenge": bytes(31)},
        {"nonce": b""},
        {"generation": -1},
        {"mesh_id": bytes(31)},
        {"device": bytes(33)},
        {"broker_key": b""},
    ],
    ids=first_key,
)
def test_a_hello_outside_its_limits_cannot_be_built(change):
    with pytest.raises(BadEncoding):
        replace(HELLO, **change)


def test_an_admission_proof_fits_one_token_and_one_hello():
    proof = admission_proof(b"token", HELLO)
    assert verify_admission(b"token", HELLO, proof)
    for token, hello, given in (
        (b"Token", HELLO, proof),
        (b"token", replace(HELLO, nonce=bytes(32)), proof),
        (b"token", HELLO, proof[:31]),
        (b"token", HELLO, b""),
    ):
        assert not verify_admission(token, hello, given)
    with pytest.raises(BadEncoding):
        admission_proof(b"", HELLO)
