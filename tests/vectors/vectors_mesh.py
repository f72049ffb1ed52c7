"""Vectors of what makes a mesh: hellos, tips, the chain, seals, invites."""

import mesh_reference
from mesh_protocol import chain, padding, pae, seals
from mesh_protocol.hello import admission_proof, sign_broker_hello, sign_client_hello, transcript_hash
from mesh_protocol.invite import InviteLink, SealedName, invite_key, sign_join_request
from mesh_protocol.names import pack_name
from mesh_protocol.seals import MeshKeys
from mesh_protocol.tip import EMPTY_LOG_HEAD, TipRef, log_head, marker, sign_tip
from mesh_samples import HERE
from vectors_shown import MAX, Json, body_json, link_json, spk_json, tip_json


def make_hello() -> Json:
    hello, answer = HERE.client_hello, HERE.broker_hello
    signature = sign_client_hello(hello, HERE.key("bob"))
    return {
        "client": {
            "decoded": {
                "broker_key": hello.broker_key.hex(),
                "mesh_id": hello.mesh_id.hex(),
                "device": hello.device.hex(),
                "challenge": hello.challenge.hex(),
                "nonce": hello.nonce.hex(),
                "ver_min": hello.ver_min,
                "ver_max": hello.ver_max,
                "generation": hello.generation,
            },
            "signer_seed": HERE.seed("bob").hex(),
            "hex": hello.bytes().hex(),
            "sig": signature.hex(),
            "transcript_hash": transcript_hash(hello, signature).hex(),
        },
        "broker": {
            "decoded": {
                "transcript_hash": answer.transcript_hash.hex(),
                "version": answer.version,
                "session_id": answer.session_id.hex(),
                "server_ms": answer.server_ms,
            },
            "signer_seed": HERE.seed("broker").hex(),
            "hex": answer.bytes().hex(),
            "sig": sign_broker_hello(answer, HERE.key("broker")).hex(),
        },
        "admission": {
            "token": HERE.seed("token").hex(),
            "proof": admission_proof(HERE.seed("token"), hello).hex(),
        },
    }


def make_tip() -> Json:
    refs = [HERE.tip, TipRef(0, bytes(32), 0, EMPTY_LOG_HEAD), TipRef(MAX, b"\xff" * 32, MAX, b"\xfe" * 32)]
    heads, head = [], EMPTY_LOG_HEAD
    for record in HERE.records:
        item = marker(record.seq, record.hash)
        following = log_head(HERE.mesh_id, record.seq, head, item)
        heads.append(
            {
                "n": record.seq,
                "chain_hash": record.hash.hex(),
                "previous": head.hex(),
                "marker": item.hex(),
                "head": following.hex(),
            }
        )
        head = following
    return {
        "mesh_id": HERE.mesh_id.hex(),
        "broker_seed": HERE.seed("broker").hex(),
        "refs": [{"decoded": tip_json(ref), "hex": ref.encode().hex()} for ref in refs],
        "tips": [
            {
                "decoded": tip_json(ref),
                "sig": sign_tip(HERE.key("broker"), HERE.mesh_id, ref).sig.hex(),
                "hex": sign_tip(HERE.key("broker"), HERE.mesh_id, ref).encode().hex(),
            }
            for ref in refs
        ],
        "log_heads": heads,
    }


def make_chain() -> Json:
    signers = ("alice", "alice", "alice", "alice", "bob", "bob")
    state = HERE.state
    return {
        "mesh_id": HERE.mesh_id.hex(),
        "records": [
            {
                "decoded": {
                    "seq": record.seq,
                    "prev_hash": record.prev_hash.hex(),
                    "type": record.type,
                    "body": body_json(record),
                    "signer": record.signer.hex(),
                    "sig": record.sig.hex(),
                },
                "signer_seed": HERE.seed(signer).hex(),
                "body": record.body.hex(),
                "hex": record.encode().hex(),
                "hash": record.hash.hex(),
            }
            for record, signer in zip(HERE.records, signers, strict=True)
        ],
        "commitments": [
            {
                "epoch": epoch,
                "gk": HERE.seed(f"epoch {epoch}").hex(),
                "kc": chain.epoch_kc(HERE.mesh_id, epoch, HERE.seed(f"epoch {epoch}")).hex(),
            }
            for epoch in (1, 2)
        ],
        "state": {
            "seq": state.seq,
            "head": state.head.hex(),
            "epoch": state.epoch,
            "signers": sorted(device.hex() for device in state.signers),
            "members": [
                {
                    "member_id": member.member_id.hex(),
                    "role": member.role,
                    "devices": [device.hex() for device in member.devices],
                    "added_seq": member.added_seq,
                }
                for member in state.members.values()
            ],
            "invites": [
                {"invite_id": invite.invite_id.hex(), "uses": invite.uses, "open": invite.open}
                for invite in state.invites.values()
            ],
        },
    }


def make_seals() -> Json:
    rows = []
    wide = MeshKeys(HERE.seed("name key"), {n: HERE.seed(f"epoch {n}") for n in range(1, 40)})
    only_new = MeshKeys(HERE.seed("name key"), {2: HERE.seed("epoch 2")})
    cases = {"both epochs": (2, HERE.keys), "the new epoch only": (2, only_new), "forty epochs": (39, wide)}
    for name, (epoch, keys) in cases.items():
        spk = HERE.spk("bob")
        content = seals.pack_keys(keys, HERE.tip)
        unsealed = seals.EpochSeal(spk.device, epoch, spk.prekey_id, bytes(32), bytes(16))
        info = unsealed.info(HERE.mesh_id, spk.pub)
        ephemeral = HERE.seed("ephemeral seal " + name)
        enc, ct = mesh_reference.hpke_seal(ephemeral, spk.pub, info, padding.pad(content))
        seal = seals.EpochSeal(spk.device, epoch, spk.prekey_id, enc, ct)
        rows.append(
            {
                "name": name,
                "decoded": {
                    "name_key": keys.name_key.hex(),
                    "epochs": {str(number): key.hex() for number, key in keys.epochs.items()},
                    "tip": tip_json(HERE.tip),
                },
                "mesh_id": HERE.mesh_id.hex(),
                "epoch": epoch,
                "to_device": spk.device.hex(),
                "prekey_id": spk.prekey_id,
                "prekey_private": HERE.seed("bob prekey").hex(),
                "ephemeral": ephemeral.hex(),
                "content": content.hex(),
                "info": info.hex(),
                "hex": seal.encode().hex(),
            }
        )
    return {"seals": rows}


def make_invite() -> Json:
    urls = ("wss://broker.example/mesh", "ws://127.0.0.1:7777", "wss://[2001:db8::1]:443/a%20b?x=1&y=2")
    links = [InviteLink(HERE.mesh_id, HERE.invite_id, url, HERE.seed("invite secret")) for url in urls]
    spk, device = HERE.spk("alice"), HERE.key("carol").public
    info = pae.pae(
        "join-name",
        b"\x01",
        HERE.mesh_id,
        HERE.invite_id,
        device,
        spk.device,
        pae.u64(spk.prekey_id),
        spk.pub,
    )
    ephemeral = HERE.seed("ephemeral name")
    enc, ct = mesh_reference.hpke_seal(ephemeral, spk.pub, info, pack_name("carol"))
    request = HERE.join_request((SealedName(spk.device, spk.prekey_id, enc, ct),))
    data = sign_join_request(request, invite_key(HERE.seed("invite secret")), HERE.key("carol"))
    return {
        "links": [{"decoded": link_json(link), "url": link.url()} for link in links],
        "key": {
            "secret": HERE.seed("invite secret").hex(),
            "public": invite_key(HERE.seed("invite secret")).public.hex(),
        },
        "request": {
            "decoded": {
                "mesh_id": request.mesh_id.hex(),
                "invite_id": request.invite_id.hex(),
                "device": request.device.hex(),
                "spk": spk_json(request.spk),
                "tip": tip_json(request.tip),
                "sealed_names": [
                    {
                        "signer": spk.device.hex(),
                        "prekey_id": spk.prekey_id,
                        "enc": enc.hex(),
                        "ct": ct.hex(),
                        "info": info.hex(),
                        "ephemeral": ephemeral.hex(),
                        "prekey_private": HERE.seed("alice prekey").hex(),
                        "name": "carol",
                    }
                ],
            },
            "device_seed": HERE.seed("carol").hex(),
            "hex": data.hex(),
        },
    }
