"""Safety numbers: shown, compared, pinned."""

import hmac

from mesh_protocol.chain import Record
from mesh_protocol.ops.verify import ConfirmNumber, KeyChangeRow, ShowNumber, Verification, VerifiedAnswer
from mesh_protocol.pae import BadEncoding
from mesh_protocol.safety import SafetyNumber, parse_code, safety_number
from mesh_protocol.wire.errors import MeshError
from meshd.local.dispatch import Call, handles
from meshd.membership import Person, describe_device, find_peer
from meshd.mesh import Mesh
from meshd.store import verified as store
from meshd.verified import Pin

MAX_CHANGES = 100


@handles(ShowNumber)
async def show_number(call: Call, request: ShowNumber) -> Verification:
    from meshd.qr import draw_code

    mesh, person = find_peer(call.app.node, request.mesh, request.peer)
    member, node = person.member.member_id, call.app.node
    number = await _number(call, mesh, person)
    pin = node.pins.pin_of(mesh, member)
    changes = [
        KeyChangeRow(device=change.device.hex()[:16], came=change.came, signed_by=_signer(call, mesh, change.seq))
        for change in node.pins.changes(mesh, member)[:MAX_CHANGES]
    ]
    return Verification(
        peer=person.name,
        mesh=mesh.slug,
        state=node.pins.standing(mesh, member),
        digits=number.digits,
        code=number.code,
        qr=draw_code(number.code),
        verified_ms=pin.at_ms if pin is not None else 0,
        changes=changes,
    )


@handles(ConfirmNumber)
async def confirm_number(call: Call, request: ConfirmNumber) -> VerifiedAnswer:
    mesh, person = find_peer(call.app.node, request.mesh, request.peer)
    node, member = call.app.node, person.member.member_id
    devices = tuple(sorted(mesh.state.active_devices(member)))
    # The number is of these devices and no others: what was compared is what is pinned, whatever came meanwhile.
    if not _same(await _number(call, mesh, person), request.number):
        raise MeshError("number_differs", peer=person.name)
    pin = Pin(mesh.id, member, person.name, devices, node.now())
    replaced = node.pins.gone_under(mesh, person.name)
    await node.db.write(lambda tx: store.put_pin(tx, pin, replaced))
    node.pins.add(pin, replaced)
    return VerifiedAnswer(peer=person.name, mesh=mesh.slug, state=node.pins.standing(mesh, member))


async def _number(call: Call, mesh: Mesh, person: Person) -> SafetyNumber:
    """Some 5 ms of hashing, in a thread."""
    state, me, member = mesh.state, mesh.row.member, person.member.member_id
    own, others = state.active_devices(me), state.active_devices(member)
    if not own or not others:
        raise MeshError("not_allowed", why=f"{person.name} has no device that could be compared")
    return await call.app.node.seams.threads(lambda: safety_number(mesh.id, me, own, member, others))


def _same(number: SafetyNumber, told: str) -> bool:
    """Compared in constant time, whichever of its two forms was told."""
    if told.startswith("mesh:"):
        try:
            return number.matches(parse_code(told.strip()))
        except BadEncoding:
            return False
    digits = "".join(told.split())
    return hmac.compare_digest(digits.encode(), number.digits.replace(" ", "").encode())


def _signer(call: Call, mesh: Mesh, seq: int) -> str:
    """Who signed a record."""
    record = Record.decode(store.read_record(call.app.node.db.reader, mesh.id, seq))
    return describe_device(mesh, record.signer)
