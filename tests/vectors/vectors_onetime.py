"""Vectors of one-time prekeys: batches under one signature, and a key as a broker hands it out."""

from mesh_protocol.keys import PrekeyPrivate
from mesh_protocol.pae import lst, u64
from mesh_protocol.prekeys import FIRST_ONETIME, MAX_BATCH, OneTimeBatch, pack_given, sign_batch
from mesh_samples import ELSEWHERE, HERE, NOW_MS, Samples
from vectors_shown import MAX, Json


def batch_of(name: str, first_id: int, count: int, samples: Samples = HERE) -> OneTimeBatch:
    seeds = [samples.seed(f"{name} onetime {place}") for place in range(count)]
    pubs = [PrekeyPrivate.from_seed(seed).public for seed in seeds]
    return sign_batch(samples.key(name), samples.mesh_id, first_id, NOW_MS, pubs)


def make_onetime() -> Json:
    batches = {
        "one key": ("alice", FIRST_ONETIME, 1, HERE),
        "three keys": ("bob", FIRST_ONETIME + 700, 3, HERE),
        "as many as there may be, with the greatest ids": ("carol", MAX - MAX_BATCH, MAX_BATCH, HERE),
        "another mesh": ("bob", FIRST_ONETIME, 2, ELSEWHERE),
    }
    good = batch_of("bob", FIRST_ONETIME + 700, 3)
    signed, sig = good.encode()[:-64], good.sig
    refused = {
        "nothing": b"",
        "the signature cut": signed,
        "one byte cut": good.encode()[:-1],
        "one byte appended": good.encode() + b"\0",
        "another label": signed.replace(b"prekey-opk-batch", b"prekey-opk-bitch") + sig,
        "a signed prekey": HERE.spk("bob").encode(),
        "too large": bytes(5000),
    }
    return {
        "batches": [
            {
                "name": name,
                "mesh_id": batch.mesh_id.hex(),
                "device": batch.device.hex(),
                "signer_seed": samples.seed(owner).hex(),
                "first_id": batch.first_id,
                "made_ms": batch.made_ms,
                "pubs": [pub.hex() for pub in batch.pubs],
                "sig": batch.sig.hex(),
                "hex": batch.encode().hex(),
            }
            for name, (owner, first_id, count, samples) in batches.items()
            for batch in [batch_of(owner, first_id, count, samples)]
        ],
        "given": [
            {"place": place, "batch": good.encode().hex(), "hex": pack_given(place, good.encode()).hex()}
            for place in (0, 2)
        ],
        "given_refused": [
            {"why": "a place behind the last", "hex": pack_given(3, good.encode()).hex()},
            {"why": "no place", "hex": lst(good.encode()).hex()},
            {"why": "no batch", "hex": lst(u64(0), b"").hex()},
        ],
        "refused": [{"why": why, "hex": data.hex()} for why, data in refused.items()],
    }
