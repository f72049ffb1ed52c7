"""Hellos at their edges: fields of other sizes, versions that none has, and the last version that was offered."""

from dataclasses import replace

import pytest

from mesh_protocol.hello import (
    BrokerHello,
    sign_broker_hello,
    sign_client_hello,
    transcript_hash,
    verify_broker_hello,
    verify_client_hello,
)
from mesh_protocol.keys import BadEncoding, BadSignature
from mesh_samples import HERE

CLIENT, BROKER = HERE.client_hello, HERE.broker_hello
SIGNATURE = sign_client_hello(CLIENT, HERE.key("bob"))


@pytest.mark.parametrize("name", ["broker_key", "mesh_id", "device", "challenge", "nonce"])
def test_a_clients_hello_holds_only_fields_of_32_bytes(name):
    for size in (0, 31, 33):
        with pytest.raises(BadEncoding):
            replace(CLIENT, **{name: bytes(size)})


@pytest.mark.parametrize(
    "changed",
    [
        {"ver_min": -1},
        {"ver_min": CLIENT.ver_max + 1},
        {"ver_max": 65_536},
        {"generation": -1},
        {"generation": 2**63},
    ],
)
def test_a_clients_hello_holds_only_numbers_that_there_are(changed):
    with pytest.raises(BadEncoding):
        replace(CLIENT, **changed)


def test_the_least_and_the_greatest_numbers_of_a_hello_are_taken():
    for changed in (
        {"ver_min": 0, "ver_max": 0, "generation": 0},
        {"ver_min": 65_535, "ver_max": 65_535, "generation": 2**63 - 1},
    ):
        hello = replace(CLIENT, **changed)
        verify_client_hello(hello, sign_client_hello(hello, HERE.key("bob")))
    for version, server_ms in ((0, 0), (65_535, 2**63 - 1)):
        assert BrokerHello(bytes(32), version, bytes(16), server_ms).server_ms == server_ms


@pytest.mark.parametrize(
    "changed",
    [
        {"transcript_hash": bytes(31)},
        {"session_id": bytes(15)},
        {"session_id": bytes(17)},
        {"version": -1},
        {"version": 65_536},
        {"server_ms": -1},
        {"server_ms": 2**63},
    ],
)
def test_a_brokers_hello_holds_only_what_there_is(changed):
    with pytest.raises(BadEncoding):
        replace(BROKER, **changed)


def test_a_broker_may_choose_the_first_and_the_last_version_that_was_offered_and_no_other():
    def answer(version):
        hello = replace(BROKER, transcript_hash=transcript_hash(CLIENT, SIGNATURE), version=version)
        signature = sign_broker_hello(hello, HERE.key("broker"))
        verify_broker_hello(hello, signature, client_hello=CLIENT, client_signature=SIGNATURE)

    assert CLIENT.ver_min < CLIENT.ver_max
    for version in (CLIENT.ver_min, CLIENT.ver_max):
        answer(version)
    for version in (CLIENT.ver_min - 1, CLIENT.ver_max + 1):
        with pytest.raises(BadEncoding):
            answer(version)


def test_an_answer_to_another_hello_or_by_another_broker_is_refused():
    hello = replace(BROKER, transcript_hash=transcript_hash(CLIENT, SIGNATURE))
    with pytest.raises(BadEncoding):
        other = replace(hello, transcript_hash=bytes(32))
        signature = sign_broker_hello(other, HERE.key("broker"))
        verify_broker_hello(other, signature, client_hello=CLIENT, client_signature=SIGNATURE)
    with pytest.raises(BadSignature):
        signature = sign_broker_hello(hello, HERE.key("alice"))
        verify_broker_hello(hello, signature, client_hello=CLIENT, client_signature=SIGNATURE)
    with pytest.raises(BadEncoding):
        transcript_hash(CLIENT, SIGNATURE[:-1])
