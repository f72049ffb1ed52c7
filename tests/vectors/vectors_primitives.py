"""Vectors of the encoding, the primitives, padding and names."""

import mesh_reference
from mesh_protocol import padding, pae
from mesh_protocol.keys import aead_seal, hkdf
from mesh_protocol.names import compare_form, member_subject, seal_name
from mesh_samples import HERE, NOW_MS
from vectors_shown import MAX, Json, spk_json


def make_pae() -> Json:
    lists: dict[str, list[bytes]] = {
        "no fields": [],
        "one empty field": [b""],
        "two empty fields": [b"", b""],
        "embedded NUL": [b"a\0b", b"\0"],
        "what another framing would confuse": [b"ab", b"c"],
        "its neighbour": [b"a", b"bc"],
        "a length inside a field": [pae.u64(1) + pae.u64(1) + b"x"],
        "every byte": [bytes(range(256))],
        "a long field": [b"\xa5" * 4096],
        "a nested list": [pae.lst(b"x", b""), b"y"],
        "UTF-8": ["ä€😀".encode()],
        "twenty fields": [bytes([n]) * n for n in range(20)],
    }
    purposes = ("dm-sig", "tip", "genesis")
    return {
        "numbers": [{"n": n, "hex": pae.u64(n).hex()} for n in (0, 1, 255, 256, 2**32, NOW_MS, MAX)],
        "lists": [
            {"name": name, "fields": [field.hex() for field in fields], "hex": pae.lst(*fields).hex()}
            for name, fields in lists.items()
        ],
        "paes": [
            {
                "name": name,
                "purpose": purpose,
                "fields": [field.hex() for field in fields],
                "hex": pae.pae(purpose, *fields).hex(),
            }
            for purpose in purposes
            for name, fields in lists.items()
        ],
    }


def make_keys() -> Json:
    prekeys = [HERE.spk("alice"), HERE.spk("bob", 0), HERE.spk("carol", MAX)]
    texts = {"empty": b"", "short": b"hello", "a page": b"\x5a" * 4096}
    key, nonce, aad = HERE.seed("aead"), HERE.seed("aead nonce", 24), pae.pae("name", b"aad")
    return {
        "signing_keys": [
            {"seed": HERE.seed(name).hex(), "public": HERE.key(name).public.hex()}
            for name in ("alice", "bob", "bob laptop", "carol", "broker", "recovery")
        ],
        "prekey_pairs": [
            {"seed": HERE.seed(name + " prekey").hex(), "public": HERE.prekey(name).public.hex()}
            for name in ("alice", "bob", "carol")
        ],
        "signed_prekeys": [
            {"decoded": spk_json(spk), "signer_seed": HERE.seed(name).hex(), "hex": spk.encode().hex()}
            for spk, name in zip(prekeys, ("alice", "bob", "carol"), strict=True)
        ],
        "aead": [
            {
                "name": name,
                "key": key.hex(),
                "nonce": nonce.hex(),
                "aad": aad.hex(),
                "plaintext": text.hex(),
                "hex": aead_seal(key, nonce, aad, text).hex(),
            }
            for name, text in texts.items()
        ],
        "hkdf": [
            {"key": key.hex(), "info": info.hex(), "length": size, "hex": hkdf(key, info, size).hex()}
            for info in (pae.pae("live-key", b"x"), pae.pae("invite-key"))
            for size in (16, 32, 64)
        ],
    }


def make_hpke() -> Json:
    texts = {"empty": b"", "one byte": b"\0", "a bucket": bytes(256), "a page": b"\x5a" * 4096}
    rows = []
    for name, text in texts.items():
        info = pae.pae("dm-info", name.encode())
        enc, ct = mesh_reference.hpke_seal(HERE.seed("ephemeral " + name), HERE.prekey("bob").public, info, text)
        rows.append(
            {
                "name": name,
                "private": HERE.seed("bob prekey").hex(),
                "ephemeral": HERE.seed("ephemeral " + name).hex(),
                "info": info.hex(),
                "plaintext": text.hex(),
                "enc": enc.hex(),
                "ct": ct.hex(),
            }
        )
    return {"suite": "DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305", "opens": rows}


def make_padding() -> Json:
    sizes = [0, 1, 255, 256, 257, 264, 265, 511, 512, 513, 1000, 1024, 1025, 4095, 65_535, 65_536, 65_537, 262_144]
    return {"buckets": [{"size": size, "bucket": padding.bucket(size)} for size in sizes]}


def make_names() -> Json:
    key, nonce = HERE.seed("name key"), HERE.seed("name nonce", 24)
    mesh, member = HERE.salt, member_subject(HERE.member("alice"), HERE.salt)
    named = [("team", mesh), ("alice", member), ("Ömer-2", member), ("名前", member), ("x" * 240, mesh)]
    return {
        "sealed": [
            {
                "name": name,
                "subject": subject.hex(),
                "name_key": key.hex(),
                "nonce": nonce.hex(),
                "hex": seal_name(key, subject, name, nonce).hex(),
            }
            for name, subject in named
        ],
        "accepted": [
            {"name": "alice", "normal": "alice"},
            {"name": "Ａlice", "normal": "Alice"},
            {"name": "a\u0308bc", "normal": "äbc"},
            {"name": "x_y-z.1", "normal": "x_y-z.1"},
            {"name": "n" * 32, "normal": "n" * 32},
        ],
        "refused": ["", "n" * 33, "a b", "a/b", "a\u202eb", "a\u0000", "a@b", "~a", "😀", "a\u200db", "\n"],
        "equal": [[a, b, compare_form(a)] for a, b in (("Straße", "STRASSE"), ("Bob", "bOB"), ("ﬁn", "FIN"))],
    }
