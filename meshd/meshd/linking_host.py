"""The side of linking that is in the mesh: it opens the meeting, compares, and signs the new device in."""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio

from mesh_protocol.chain import AddDevice, AddSigner, Body
from mesh_protocol.linking import LinkReveal, OwnDevice
from mesh_protocol.meeting import MeetingLink
from mesh_protocol.pae import CryptoError, lst
from mesh_protocol.wire.errors import MeshError
from meshd.link.driver import LOCAL
from meshd.link.greeting import CALL_S
from meshd.link.meeting import Meeting, open_meeting
from meshd.link.meshlink import MeshLink
from meshd.link.turning import turn_epoch
from meshd.linking import ATTEMPT_S, DONE, ENTERING, WAITING, Attempt
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.removal import change_rights, while_online

if TYPE_CHECKING:
    from meshd.app import App

log = get_logger("linking")

ATTEMPT_MS: Final = int(ATTEMPT_S * 1000)
YES: Final = b"yes"
NO: Final = b"no"


async def offer_link(app: "App", mesh: Mesh) -> tuple[MeetingLink, Attempt]:
    """Open a meeting at the mesh's broker and wait there, in the background, for the new device. Raises `MeshError`."""
    if mesh.row.broker_url == LOCAL:
        raise MeshError("mesh_local_only", mesh=mesh.slug)
    link = MeetingLink(mesh.id, mesh.row.broker_url, app.node.seams.rng(32))
    key = link.key().public

    async def open_it(desk: MeshLink) -> None:
        await desk.greeting.connection.call("meet.open", {"mesh": mesh.id, "key": key}, seconds=CALL_S)

    await while_online(app, mesh, open_it)
    entered = trio.Event()

    async def host(attempt: Attempt) -> None:
        await _host(app, mesh, link, attempt, entered)

    attempt = await app.linking.begin("own", mesh.slug, host)
    # Its place at the broker is taken before anybody sees the link.
    while not entered.is_set() and not attempt.over:
        await attempt.changed.wait()
    error = None if entered.is_set() else attempt.error
    if error is not None and error.code in ("link_unknown", "link_used"):
        error = MeshError("link_ended", why="the broker lets nobody meet there")
    if error is not None:
        raise error
    return link, attempt


async def _host(app: "App", mesh: Mesh, link: MeetingLink, attempt: Attempt, entered: trio.Event) -> None:
    async with open_meeting(app.node, app.brokers, link, "own") as meeting:
        entered.set()
        attempt.move(WAITING)
        reveal = await _compare(app, mesh, meeting, attempt)
        await attempt.decided.wait()
        if not attempt.verdict:
            await meeting.say(NO)
            raise MeshError("words_differ")
        attempt.move(ENTERING)
        with trio.CancelScope(shield=True):  # what is appended is told to the new device, whoever stops waiting
            try:
                await _sign_in(app, mesh, reveal)
            except MeshError as error:
                raise MeshError("link_ended", why=error.message) from None
            with contextlib.suppress(MeshError):  # else it asks the broker whether it is in
                await meeting.say(YES)
            attempt.move(DONE)


async def _compare(app: "App", mesh: Mesh, meeting: Meeting, attempt: Attempt) -> LinkReveal:
    """Commitment, our nonce, reveal, in this order and no other; then the words. Raises `link_ended`."""
    side = OwnDevice(mesh.id, app.node.device, app.node.seams.rng(32))
    try:
        nonce = side.answer(await meeting.hear())
        await meeting.say(lst(app.node.device, nonce))
        reveal, words = side.confirm(await meeting.hear())
    except CryptoError as error:
        raise MeshError("link_ended", why=f"the other machine broke the order: {error}") from None
    known = mesh.state.devices.get(reveal.device)
    if known is not None and (known.revoked or (known.active and known.member_id != mesh.row.member)):
        await meeting.say(NO)
        why = "that machine was taken out of the mesh for good" if known.revoked else "that machine is another member's"
        raise MeshError("link_ended", why=why)
    attempt.show(words, reveal.device.hex())
    return reveal


async def _sign_in(app: "App", mesh: Mesh, reveal: LinkReveal) -> None:
    """Append the device with the epoch that begins with it, sealed to every device; then let it sign, if this one may."""
    member = mesh.row.member
    if mesh.state.is_active(reveal.device):  # an earlier attempt got so far: it asks for the keys by itself
        return

    def bodies() -> Sequence[Body]:
        return [AddDevice(member, reveal.device)]

    async def append(desk: MeshLink) -> None:
        mesh.peer_prekeys[reveal.device] = reveal.spk
        await turn_epoch(app.node, mesh, desk, bodies)
        desk.presence.set()

    await while_online(app, mesh, append)
    log.info("linked a device", mesh=Id(mesh.id), device=Id(reveal.device))
    app.node.events.publish("mesh", mesh=mesh.slug)
    if app.node.device in mesh.state.signers and mesh.state.may(app.node.device, "manage_permissions"):
        # The machines of those who may manage sign; and without a second one a lost laptop could not be revoked.
        try:
            await change_rights(app, mesh, [AddSigner(reveal.device)])
        except MeshError as error:
            log.warning("the new device does not sign", mesh=Id(mesh.id), error=error)
