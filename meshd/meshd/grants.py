"""What becomes of a text that came, by who sent it: the rights that the chain gives him, and what this person lets him do.

The chain's word is every reader's to enforce (`send`); the rest is this person's own, known to this machine alone. A
blocked sender is told nothing: his messages are taken and answered as any other's, and nobody is shown them (crypto
design 2.19).
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from mesh_protocol.chain_state import ChainState
from mesh_protocol.ids import DeviceId, MemberId
from mesh_protocol.wire.errors import MeshError
from meshd.mesh import Mesh
from meshd.store.trust import TrustRow
from meshd.targets import EVERYBODY, GROUP, Recipient

GRANTS: Final = ("read", "dm", "broadcast")
"""What a peer may do unless it is withheld: see what the sessions here do (`details`); write to this person or a session of
his by name; to a group or to all."""

MAY_NOT_SEND: Final = "you may not send in this mesh"
REFUSED: Final = "the recipient refuses your messages (mesh trust)"
NO_DIRECT: Final = "direct messages of yours are not taken (mesh grants)"
NO_BROADCAST: Final = "messages of yours to a group are not taken (mesh grants)"
"""What a sender is told; at most 64 bytes each, as a receipt's reason."""

TAKE: Final = "take"
HOLD: Final = "hold"
REFUSE: Final = "refuse"
BLOCK: Final = "block"


class Ruling(NamedTuple):
    """What becomes of a text: `kind` is take, hold, refuse or block. `label` is what is left of its address, `reason`
    what its sender is told."""

    kind: str
    label: str
    reason: str = ""


def rule(state: ChainState, me: MemberId, device: DeviceId, standing: TrustRow, label: str) -> Ruling:
    """Judge a text for `label` (parts with commas between) by `device`, which the chain lists.

    A person's own machines are not judged. What the mesh forbids comes first, so that a block changes nothing of it.
    """
    if state.devices[device].member_id == me:
        return Ruling(TAKE, label)
    if not state.may(device, "send"):
        return Ruling(REFUSE, label, MAY_NOT_SEND)
    if standing.policy == BLOCK:
        return Ruling(BLOCK, label)
    if standing.policy == REFUSE:
        return Ruling(REFUSE, label, REFUSED)
    taken, reason = _granted(label, standing.withheld)
    if not taken:
        return Ruling(REFUSE, label, reason)
    return Ruling(HOLD if standing.policy == HOLD else TAKE, ",".join(taken), reason)


def _granted(label: str, withheld: frozenset[str]) -> tuple[list[str], str]:
    """The parts of an address that the sender may write to, and why it is not all of them."""
    parts = label.split(",")
    taken = [part for part in parts if ("broadcast" if _is_many(part) else "dm") not in withheld]
    if len(taken) == len(parts):
        return taken, ""
    return taken, NO_DIRECT if "dm" in withheld and any(not _is_many(part) for part in parts) else NO_BROADCAST


def _is_many(part: str) -> bool:
    return part == EVERYBODY or part.startswith(GROUP)


def require_send(mesh: Mesh, recipients: Iterable[Recipient]) -> None:
    """Raises `not_allowed` for a message to others from a member who may not send: they would refuse it."""
    own = mesh.row.member
    if mesh.chain is None or all(recipient.member == own for recipient in recipients):
        return
    me = mesh.chain.members.get(own)
    if me is not None and "send" not in me.permissions:
        why = f"you may not send in {mesh.slug}: {name_managers(mesh)} may allow it (mesh member allow {mesh.row.me} send)"
        raise MeshError("not_allowed", why=why)


def name_managers(mesh: Mesh) -> str:
    """Who else may change what members may do, for a refusal."""
    names = [
        mesh.name_of(member.member_id)
        for member in mesh.state.members.values()
        if "manage_permissions" in member.permissions and member.member_id != mesh.row.member
    ]
    return " or ".join(names[:5]) or "nobody else"


def granted(withheld: frozenset[str]) -> Sequence[str]:
    """What is left of the grants."""
    return [grant for grant in GRANTS if grant not in withheld]
