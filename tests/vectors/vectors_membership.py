"""Vectors of membership: a chain with a record of every type, records it refuses, forks, key requests, numbers, words."""

from collections.abc import Sequence
from dataclasses import fields

from chain_story import Story, founded, peopled
from mesh_protocol.chain import BODIES, Body, Record, decode_body
from mesh_protocol.chain_state import ChainState
from mesh_protocol.forks import Frozen, Head, judge
from mesh_protocol.key_request import KeyRequest, sign_key_request
from mesh_protocol.linking import LinkReveal
from mesh_protocol.members import ChainError, extend
from mesh_protocol.safety import safety_number
from mesh_protocol.words import WORDS
from mesh_samples import HERE, Samples
from vectors_shown import Json, spk_json, tip_json

KEYS = ("alice", "alice phone", "bob", "bob laptop", "carol", "dave", "recovery", "stranger", "broker")
SEEDS = {HERE.key(name).public: HERE.seed(name) for name in KEYS}


def every_type(samples: Samples = HERE) -> Story:
    """A chain in which every type of record stands."""
    story = peopled(samples)
    story = story.tell("alice", story.add_signer("alice phone")).tell("alice", story.set_role("carol", "admin"))
    story = story.tell("bob", story.policy("dave", "invite", "send", "use_tools", "write_state"))
    story = story.tell("bob", story.open_invite("first", "member", 2)).tell(
        "alice", story.open_invite("second", "owner")
    )
    first, second = story.state.invites
    story = story.tell("bob", story.add_member("erin", invite=first)).tell("alice", story.close_invite(second))
    story = story.tell("carol", story.set_name("carol", "caroline"))
    story = story.tell("alice", story.remove("carol", ban=True), story.revoke("bob laptop"))
    story = story.tell("alice", story.unban("carol")).tell("bob", story.remove_signer("bob"))
    story = story.tell("alice", story.broker_key()).tell("alice", story.snapshot())
    story = story.tell("alice", story.resolve(30)).tell("recovery", story.epoch(story.state.epoch + 1))
    assert {record.type for record in story.records} == set(BODIES)
    return story


def shown(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case tuple() | list():
            return [shown(each) for each in value]
    return value


def body_shown(body: Body) -> Json:
    return {field.name: shown(getattr(body, field.name)) for field in fields(body)}


def record_shown(record: Record) -> Json:
    return {
        "decoded": {
            "seq": record.seq,
            "prev_hash": record.prev_hash.hex(),
            "type": record.type,
            "body": body_shown(decode_body(record)),
            "signer": record.signer.hex(),
            "sig": record.sig.hex(),
        },
        "signer_seed": SEEDS[record.signer].hex(),
        "body": record.body.hex(),
        "hex": record.encode().hex(),
        "hash": record.hash.hex(),
    }


def state_shown(state: ChainState) -> Json:
    people = [*state.members.values(), *state.former.values()]
    return {
        "seq": state.seq,
        "head": state.head.hex(),
        "epoch": state.epoch,
        "signers": sorted(device.hex() for device in state.signers),
        "members": [
            {
                "member_id": member.member_id.hex(),
                "role": member.role,
                "sealed_name": member.sealed_name.hex(),
                "devices": shown(member.devices),
                "permissions": sorted(member.permissions),
                "added_seq": member.added_seq,
                "removed_seq": member.removed_seq,
                "banned": member.banned,
            }
            for member in sorted(people, key=lambda member: member.added_seq)
        ],
        "devices": [
            {
                "device": device.device.hex(),
                "member_id": device.member_id.hex(),
                "added_by": device.added_by.hex(),
                "active": device.active,
                "revoked": device.revoked,
                "added_seq": device.added_seq,
                "ended_seq": device.ended_seq,
            }
            for device in sorted(state.devices.values(), key=lambda device: device.added_seq)
        ],
        "invites": [
            {"invite_id": invite.invite_id.hex(), "uses": invite.uses, "open": invite.open}
            for invite in state.invites.values()
        ],
        "broker_key": state.broker_key.hex(),
        "broker_urls": list(state.broker_urls),
        "snapshot": body_shown(state.snapshot) if state.snapshot is not None else None,
    }


def make_membership() -> Json:
    story, refused = every_type(), refusals()
    pool = sorted({record.encode() for _, chain, _, _ in refused for record in chain.records})
    return {
        "mesh_id": HERE.mesh_id.hex(),
        "records": [record_shown(record) for record in story.records],
        "state": state_shown(story.state),
        "pool": [data.hex() for data in pool],
        "refused": [refusal(pool, *each) for each in refused],
    }


def refusals() -> Sequence[tuple[str, Story, str, Body]]:
    """(reason, a chain, a signer, a body): each the least that breaks one rule."""
    team = peopled()
    gone = team.tell("alice", team.remove("carol"))
    banned = team.tell("alice", team.remove("carol", ban=True))
    signs = team.tell("alice", team.add_signer("dave"))
    return [
        ("wrong_signer", team, "carol", team.remove("dave")),
        ("wrong_signer", gone, "carol", gone.open_invite()),
        ("wrong_signer", team, "broker", team.broker_key("stranger")),
        ("wrong_signer", team, "alice", team.add_device("carol", "carol phone")),
        ("not_permitted", signs, "dave", team.remove("carol")),
        ("not_permitted", team, "bob", team.policy("carol", "delete_mesh")),
        ("role_too_high", team, "bob", team.remove("alice")),
        ("role_too_high", team, "bob", team.revoke("alice phone")),
        ("role_too_high", team, "bob", team.set_role("carol", "owner")),
        ("own_removal", team, "bob", team.remove("bob")),
        ("own_removal", team, "bob laptop", team.revoke("bob")),
        ("last_signer", team, "alice phone", team.revoke("alice", "alice phone")),
        ("last_signer", team, "alice", team.set_role("alice", "admin")),
        ("last_signer", team, "alice", team.remove_signer("alice")),
        ("duplicate_member", gone, "alice", team.add_member("carol")),
        ("duplicate_device", team, "alice", team.add_member("erin", device="recovery")),
        ("duplicate_signer", team, "alice", team.add_signer("bob")),
        ("banned", banned, "alice", team.add_member("erin", device="carol")),
        ("not_banned", gone, "alice", team.unban("carol")),
        ("unknown_member", gone, "alice", team.remove("carol")),
        ("unknown_device", team, "alice", team.revoke("bob", "carol")),
        ("unknown_signer", team, "alice", team.remove_signer("carol")),
        ("bad_policy", team, "alice", team.policy("alice", "send")),
        ("bad_snapshot", team.tell("bob", team.snapshot()), "bob", team.snapshot()),
        ("bad_resolve", team, "alice", founded().resolve()),
    ]


def refusal(pool: Sequence[bytes], reason: str, story: Story, signer: str, body: Body) -> Json:
    records, found = story.make(signer, body), ""
    try:
        extend(story.state, records)
    except ChainError as error:
        found = error.reason
    assert found == reason
    return {
        "reason": reason,
        "chain": [pool.index(record.encode()) for record in story.records],
        "then": [record.encode().hex() for record in records],
    }


def make_forks() -> Json:
    team = peopled()
    left, right = team.tell("alice", team.add_member("erin")), team.tell("bob", team.add_member("frank"))
    removal, again = team.tell("alice", team.remove("bob")), team.tell("alice", team.remove("bob"), tag="'")
    resolved = {
        (name, signer): story.tell(signer, story.resolve())
        for name, story in {"left": left, "right": right, "removal": removal}.items()
        for signer in ("alice", "bob", "recovery")
        if (name, signer) != ("removal", "bob")
    }
    longer = left.tell("alice", left.open_invite())
    cases = {
        "one chain": [left],
        "two branches": [left, right],
        "three branches": [left, right, removal],
        "the longer branch does not win": [longer, right],
        "two epochs on one removal": [removal, again],
        "a signer resolves": [resolved["left", "alice"], right],
        "the other signer resolves": [right, resolved["left", "bob"]],
        "what is forked later is void": [resolved["left", "alice"], right, removal],
        "two resolves": [resolved["left", "alice"], resolved["right", "bob"]],
        "the recovery key settles two resolves": [resolved["left", "recovery"], resolved["right", "bob"]],
        "two resolves by the recovery key": [resolved["left", "recovery"], resolved["right", "recovery"]],
        "who is removed on a branch does not judge it": [resolved["right", "bob"], removal],
        "who removes resolves": [resolved["right", "bob"], resolved["removal", "alice"]],
        "a branch above a resolve": [
            resolved["left", "alice"].tell("alice", team.open_invite()),
            resolved["left", "alice"].tell("alice", team.add_member("grace")),
            right,
        ],
    }
    pool = sorted({record.encode() for stories in cases.values() for story in stories for record in story.records})
    return {
        "mesh_id": HERE.mesh_id.hex(),
        "records": [data.hex() for data in pool],
        "cases": [
            {
                "name": name,
                "records": sorted({pool.index(record.encode()) for story in stories for record in story.records}),
                **verdict([record for story in stories for record in story.records]),
            }
            for name, stories in cases.items()
        ],
    }


def verdict(records: Sequence[Record]) -> Json:
    judged = judge(HERE.mesh_id, records)
    if isinstance(judged, Frozen):
        common = judged.state
        return {
            "verdict": "frozen",
            "heads": heads(judged.heads),
            "common": heads([Head(common.seq, common.head)])[0] if common is not None else None,
            "void": heads(judged.void),
        }
    head = Head(judged.state.seq, judged.state.head)
    return {"verdict": "settled", "heads": heads([head]), "common": heads([head])[0], "void": heads(judged.void)}


def heads(found: Sequence[Head]) -> list[Json]:
    return [{"seq": head.seq, "hash": head.hash.hex()} for head in found]


def make_requests() -> Json:
    rows = []
    for name, first, bad in (("bob", 1, b""), ("carol", 2, HERE.seed("bad seal")), ("bob laptop", 2**63 - 1, b"")):
        request = KeyRequest(HERE.mesh_id, HERE.key(name).public, first, HERE.spk(name), HERE.tip, bad)
        rows.append(
            {
                "decoded": {
                    "mesh_id": request.mesh_id.hex(),
                    "device": request.device.hex(),
                    "first_epoch": first,
                    "spk": spk_json(request.spk),
                    "tip": tip_json(request.tip),
                    "bad_seal": bad.hex(),
                },
                "signer_seed": HERE.seed(name).hex(),
                "hex": sign_key_request(request, HERE.key(name)).hex(),
            }
        )
    return {"requests": rows}


def make_verifying() -> Json:
    """Safety numbers, and the words of linked devices."""
    numbers = []
    for ones, others in ((["alice"], ["bob"]), (["alice", "alice phone"], ["bob", "bob laptop", "bob phone"])):
        sides = [(HERE.member(side[0]), [HERE.key(name).public for name in side]) for side in (ones, others)]
        number = safety_number(HERE.mesh_id, *sides[0], *sides[1])
        numbers.append(
            {
                "decoded": {
                    "mesh_id": HERE.mesh_id.hex(),
                    "sides": [{"member_id": member.hex(), "devices": shown(devices)} for member, devices in sides],
                },
                "hex": number.data.hex(),
                "digits": number.digits,
                "code": number.code,
            }
        )
    links = []
    for name, nonce in (("bob phone", "link nonce"), ("carol", "another nonce")):
        reveal = LinkReveal(HERE.mesh_id, HERE.key(name).public, HERE.spk(name), HERE.seed(nonce))
        links.append(
            {
                "decoded": {
                    "mesh_id": reveal.mesh_id.hex(),
                    "device": reveal.device.hex(),
                    "spk": spk_json(reveal.spk),
                    "nonce": reveal.nonce.hex(),
                },
                "hex": reveal.encode().hex(),
                "commitment": reveal.commitment().hex(),
                "by": HERE.key("bob").public.hex(),
                "by_nonce": HERE.seed("own nonce").hex(),
                "words": list(reveal.words(HERE.key("bob").public, HERE.seed("own nonce"))),
            }
        )
    return {"safety_numbers": numbers, "words": list(WORDS), "links": links}
