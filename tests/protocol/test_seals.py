"""Mesh keys on their way to a device: sealed, opened, and believed only when the chain commits to them."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_protocol import hpke
from mesh_protocol.keys import BadCiphertext, BadEncoding, BadPeerKey
from mesh_protocol.padding import pad
from mesh_protocol.pae import lst, u64
from mesh_protocol.seals import (
    MAX_EPOCHS,
    BadEpochKey,
    EpochSeal,
    MeshKeys,
    check_epoch_keys,
    open_keys,
    pack_keys,
    seal_keys,
)
from mesh_samples import ELSEWHERE, HERE

KEY = st.binary(min_size=32, max_size=32)
SPK = HERE.spk("bob")


@given(KEY, st.dictionaries(st.integers(1, 2**63 - 1), KEY, min_size=1, max_size=40))
@settings(deadline=None)
def test_sealed_keys_open_to_the_same_keys_and_tip(name_key, epochs):
    keys = MeshKeys(name_key, epochs)
    seal = seal_keys(HERE.mesh_id, max(epochs), SPK, keys, HERE.tip)
    assert EpochSeal.decode(seal.encode()) == seal
    assert open_keys(seal, HERE.prekey("bob"), HERE.mesh_id) == (keys, HERE.tip)


def seal():
    return seal_keys(HERE.mesh_id, 2, SPK, HERE.keys, HERE.tip)


def test_a_seal_opens_for_its_device_mesh_epoch_and_prekey_only():
    bob = HERE.prekey("bob")
    for changed, prekey, mesh_id in (
        (seal(), HERE.prekey("alice"), HERE.mesh_id),
        (seal(), bob, ELSEWHERE.mesh_id),
        (replace(seal(), epoch=3), bob, HERE.mesh_id),
        (replace(seal(), prekey_id=8), bob, HERE.mesh_id),
        (replace(seal(), to_device=HERE.key("alice").public), bob, HERE.mesh_id),
        (replace(seal(), ct=seal().ct), bob, HERE.mesh_id),
    ):
        with pytest.raises(BadCiphertext):
            open_keys(changed, prekey, mesh_id)


def test_the_keys_of_the_chain_are_believed():
    check_epoch_keys(HERE.state, HERE.keys)
    check_epoch_keys(HERE.state, MeshKeys(HERE.keys.name_key, {2: HERE.keys.epochs[2]}))


@pytest.mark.parametrize(
    "keys",
    [
        MeshKeys(HERE.keys.name_key, {1: HERE.keys.epochs[1], 2: bytes(32)}),
        MeshKeys(HERE.keys.name_key, {1: HERE.keys.epochs[2]}),
        MeshKeys(HERE.keys.name_key, {**HERE.keys.epochs, 3: bytes(32)}),
        MeshKeys(bytes(32), HERE.keys.epochs),
        ELSEWHERE.keys,
    ],
)
def test_keys_that_the_chain_does_not_commit_to_are_not_believed(keys):
    with pytest.raises(BadEpochKey):
        check_epoch_keys(HERE.state, keys)


def test_a_seal_holds_its_own_epochs_key_and_none_newer():
    for epoch in (1, 3):
        with pytest.raises(BadEncoding, match="newer"):
            seal_keys(HERE.mesh_id, epoch, SPK, HERE.keys, HERE.tip)
    forged = EpochSeal(SPK.device, 1, SPK.prekey_id, bytes(32), bytes(16))
    enc, ct = hpke.seal(SPK.pub, forged.info(HERE.mesh_id, SPK.pub), pad(pack_keys(HERE.keys, HERE.tip)))
    with pytest.raises(BadEncoding, match="newer"):
        open_keys(replace(forged, enc=enc, ct=ct), HERE.prekey("bob"), HERE.mesh_id)


def entries(*epochs):
    return b"".join(u64(epoch) + bytes(32) for epoch in epochs)


@pytest.mark.parametrize(
    "content",
    [
        lst(bytes(32), entries(2, 1), HERE.tip.encode()),
        lst(bytes(32), entries(2, 2), HERE.tip.encode()),
        lst(bytes(32), entries(0, 2), HERE.tip.encode()),
        lst(bytes(32), entries(2)[:-1], HERE.tip.encode()),
        lst(bytes(32), b"", HERE.tip.encode()),
        lst(bytes(31), entries(2), HERE.tip.encode()),
        lst(bytes(32), entries(2), b""),
        lst(bytes(32), entries(2)),
        u64(4) + lst(bytes(32), entries(2), HERE.tip.encode())[8:],
        lst(bytes(32), bytes(40 * (MAX_EPOCHS + 1)), HERE.tip.encode()),
        b"",
    ],
    ids=lambda content: str(len(content)),
)
def test_a_malformed_content_is_refused(content):
    shell = EpochSeal(SPK.device, 2, SPK.prekey_id, bytes(32), bytes(16))
    enc, ct = hpke.seal(SPK.pub, shell.info(HERE.mesh_id, SPK.pub), pad(content))
    with pytest.raises(BadEncoding):
        open_keys(replace(shell, enc=enc, ct=ct), HERE.prekey("bob"), HERE.mesh_id)


def test_wrong_padding_is_refused():
    shell = EpochSeal(SPK.device, 2, SPK.prekey_id, bytes(32), bytes(16))
    for padded in (pack_keys(HERE.keys, HERE.tip), pad(pack_keys(HERE.keys, HERE.tip)) + bytes(1)):
        enc, ct = hpke.seal(SPK.pub, shell.info(HERE.mesh_id, SPK.pub), padded)
        with pytest.raises(BadEncoding, match="padding"):
            open_keys(replace(shell, enc=enc, ct=ct), HERE.prekey("bob"), HERE.mesh_id)


def test_another_meshs_prekey_and_an_unknown_suite_are_refused():
    with pytest.raises(BadPeerKey):
        seal_keys(HERE.mesh_id, 2, ELSEWHERE.spk("bob"), HERE.keys, HERE.tip)
    data = seal().encode()
    with pytest.raises(BadEncoding, match="suite"):
        EpochSeal.decode(data[:16] + b"\x02" + data[17:])


def test_keys_outside_their_limits_cannot_be_built():
    for name_key, epochs in (
        (bytes(31), {1: bytes(32)}),
        (bytes(32), {}),
        (bytes(32), {0: bytes(32)}),
        (bytes(32), {1: bytes(31)}),
        (bytes(32), {2**63: bytes(32)}),
        (bytes(32), dict.fromkeys(range(1, MAX_EPOCHS + 2), bytes(32))),
    ):
        with pytest.raises(BadEncoding):
            MeshKeys(name_key, epochs)
    for change in ({"enc": bytes(31)}, {"ct": bytes(15)}, {"ct": bytes(2**20 + 1)}, {"epoch": 0}):
        with pytest.raises(BadEncoding):
            replace(seal(), **change)


def test_the_largest_seal_fits_a_frame():
    keys = MeshKeys(bytes(32), {epoch: bytes(32) for epoch in range(1, MAX_EPOCHS + 1)})
    largest = seal_keys(HERE.mesh_id, MAX_EPOCHS, SPK, keys, HERE.tip)
    assert len(largest.encode()) < 1024 * 1024
    assert open_keys(largest, HERE.prekey("bob"), HERE.mesh_id)[0] == keys


def test_mesh_keys_print_nothing_of_themselves():
    text = repr(HERE.keys) + str(HERE.keys)
    for secret in (HERE.keys.name_key, *HERE.keys.epochs.values()):
        assert secret.hex() not in text
        assert repr(secret)[2:10] not in text
