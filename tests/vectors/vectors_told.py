"""Vectors of what devices tell each other of a mesh: what an author's history was, and what a person decided of others."""

from mesh_protocol.chain import Record
from mesh_protocol.pae import lst, u64
from mesh_protocol.standing import Standing, encode_standings
from mesh_protocol.tip import Tip, TipRef, sign_tip
from mesh_protocol.witness import encode_ask, witness
from mesh_samples import HERE, NOW_MS
from vectors_shown import MAX, Json, tip_json


def signed_tip(chain_seq: int) -> Tip:
    last = HERE.records[chain_seq - 1]
    return sign_tip(HERE.key("broker"), HERE.mesh_id, TipRef(chain_seq, last.hash, chain_seq, HERE.seed("log head")))


def make_witness() -> Json:
    asks = {"the first record": (1, HERE.records[0].hash), "the greatest number": (MAX, b"\xff" * 32)}
    records: list[Record] = list(HERE.records)
    witnesses = {
        "a whole chain": witness(signed_tip(len(records)), records),
        "an older tip": witness(signed_tip(3), records),
        "no record": witness(signed_tip(3), []),
    }
    good = witnesses["an older tip"].encode()
    tip, encoded = signed_tip(3).encode(), [record.encode() for record in records]
    refused = {
        "nothing": b"",
        "no records": lst(tip),
        "one byte cut": good[:-1],
        "one byte appended": good + b"\0",
        "a record left out": lst(tip, lst(encoded[0], encoded[2])),
        "records turned round": lst(tip, lst(encoded[1], encoded[0], encoded[2])),
        "another record than the tip's": lst(tip, lst(*encoded[:4])),
        "a tip that is cut": lst(tip[:-1], lst(*encoded[:3])),
        "too many records": lst(tip, lst(*[encoded[2]] * 65)),
    }
    return {
        "broker": HERE.key("broker").public.hex(),
        "mesh_id": HERE.mesh_id.hex(),
        "asks": [
            {"name": name, "chain_seq": seq, "chain_hash": digest.hex(), "hex": encode_ask(seq, digest).hex()}
            for name, (seq, digest) in asks.items()
        ],
        "asks_refused": [
            {"why": why, "hex": data.hex()}
            for why, data in {
                "record 0": lst(u64(0), bytes(32)),
                "a hash of 31 bytes": lst(u64(1), bytes(31)),
                "a field more": lst(u64(1), bytes(32), b""),
                "nothing": b"",
            }.items()
        ],
        "witnesses": [
            {
                "name": name,
                "tip": tip_json(each.tip.ref),
                "records": [record.encode().hex() for record in each.records],
                "hex": each.encode().hex(),
            }
            for name, each in witnesses.items()
        ],
        "witnesses_refused": [{"why": why, "hex": data.hex()} for why, data in refused.items()],
    }


def make_standing() -> Json:
    bob, carol = HERE.member("bob"), HERE.member("carol")
    held = Standing(bob, "hold", ("broadcast", "dm"), NOW_MS)
    told = {
        "one member": [held],
        "two members": [held, Standing(carol, "block", (), NOW_MS + 1)],
        "the greatest time": [Standing(carol, "allow", (), MAX)],
        "as many as there may be": [held] * 256,
    }
    good = encode_standings([held])

    def entry(member: bytes = bob, policy: bytes = b"hold", words: bytes = lst(b"dm"), at: bytes = u64(1)) -> bytes:
        return lst(lst(member, policy, words, at))

    refused = {
        "nothing": b"",
        "no entry": lst(),
        "one byte cut": good[:-1],
        "one byte appended": good + b"\0",
        "another policy": entry(policy=b"mute"),
        "a member id of 15 bytes": entry(bytes(15)),
        "words that fall": entry(words=lst(b"dm", b"broadcast")),
        "a word twice": entry(words=lst(b"dm", b"dm")),
        "a capital letter": entry(words=lst(b"Dm")),
        "a word of 33 letters": entry(words=lst(b"a" * 33)),
        "too many words": entry(words=lst(*(b"a" + b"b" * n for n in range(17)))),
        "a time of seven bytes": entry(at=bytes(7)),
        "too many entries": lst(*[held.encode()] * 257),
    }
    return {
        "standings": [
            {
                "name": name,
                "decoded": [
                    {
                        "member_id": row.member_id.hex(),
                        "policy": row.policy,
                        "withheld": list(row.withheld),
                        "at_ms": row.at_ms,
                    }
                    for row in rows
                ],
                "hex": encode_standings(rows).hex(),
            }
            for name, rows in told.items()
        ],
        "refused": [{"why": why, "hex": data.hex()} for why, data in refused.items()],
    }
