"""The side of linking that is not in the mesh yet: it shows itself, waits for the yes, and enters.

Its prekey and what it knows of the mesh are on the disk before it shows itself: from then on the other side may sign it in
at any moment, whatever dies. Where nobody did, nothing is left of it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from mesh_protocol.ids import DeviceId, MemberId
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.linking import LinkReveal, NewDevice
from mesh_protocol.meeting import MeetingLink, parse_meeting_link
from mesh_protocol.pae import CryptoError, unlst_exactly
from mesh_protocol.wire.errors import MeshError
from meshd.link.greeting import say_hello
from meshd.link.joining import linked_secret
from meshd.link.meeting import Meeting, open_meeting
from meshd.linking import DONE, ENTERING, Attempt
from meshd.linking_host import NO, YES
from meshd.mesh import Mesh
from meshd.prekeys import NewPrekey, make_prekey
from meshd.store.meshes import MeshRow

if TYPE_CHECKING:
    from meshd.app import App

ENTER_S: Final = 30.0
ASK_S: Final = 15.0


async def accept_link(app: "App", url: str) -> Attempt:
    """Go to the meeting of a link, in the background. Raises `bad_link`, or `already_member`."""
    try:
        link = parse_meeting_link(url.strip())
    except CryptoError as error:
        raise MeshError("bad_link", why=str(error)) from None
    known = app.node.meshes.get(link.mesh_id)
    if known is not None and known.active:
        raise MeshError("already_member", mesh=known.slug)
    if known is not None:
        why = f"this machine asked to be let into {known.slug} before; mesh leave {known.slug} ends that"
        raise MeshError("not_allowed", why=why)

    async def visit(attempt: Attempt) -> None:
        await _Guest(app, link, attempt).run()

    return await app.linking.begin("new", "", visit)


@dataclass(slots=True, eq=False)
class _Guest:
    """One attempt."""

    app: "App"
    link: MeetingLink
    attempt: Attempt
    _verdict: bytes = b""

    async def run(self) -> None:
        """Meet and hear the verdict. Raises `MeshError`."""
        async with open_meeting(self.app.node, self.app.brokers, self.link, "new") as meeting:
            await self._show(meeting)
            self._verdict = await meeting.hear()
        if self._verdict == NO:
            raise MeshError("link_ended", why="the person at the other machine said no")
        if self._verdict != YES:
            raise MeshError("link_ended", why="the other machine said what this build does not know")

    async def _show(self, meeting: Meeting) -> None:
        """Commit, hear the other side's nonce, show ourselves; then the words."""
        node, rng = self.app.node, self.app.node.seams.rng
        mesh = Mesh(self._row(meeting.greeting.challenge.broker_key), link_since_ms=node.now())
        prekey = make_prekey(node, mesh, 1)
        side = NewDevice(LinkReveal(mesh.id, node.device, prekey.signed, rng(32)))
        await meeting.say(side.begin())
        try:
            by, nonce = unlst_exactly(await meeting.hear(), 2)
            reveal, words = side.answer(DeviceId(by), nonce)
        except CryptoError as error:
            raise MeshError("link_ended", why=f"the other machine broke the order: {error}") from None
        await self._hold(mesh, prekey, DeviceId(by))
        await meeting.say(reveal)
        self.attempt.show(words, by.hex())

    def _row(self, broker_key: bytes) -> MeshRow:
        node = self.app.node
        return MeshRow(
            mesh=self.link.mesh_id,
            slug=node.free_slug(f"mesh-{self.link.mesh_id.hex()[:6]}"),
            state="joining",
            me="",
            member=MemberId(bytes(16)),
            broker_url=self.link.broker_url,
            broker_key=broker_key,
            secret=b"",
            created_ms=node.now(),
            next_mseq=0,
            trouble="",
        )

    async def _hold(self, mesh: Mesh, prekey: NewPrekey, by: DeviceId) -> None:
        """Put on the disk what we need if we are signed in."""
        node = self.app.node
        mesh.row = mesh.row._replace(secret=node.seal("mesh", "secret", mesh.id, linked_secret(by)))
        mesh.prekeys[prekey.row.prekey_id] = prekey.private
        mesh.prekey = prekey.signed
        self.attempt.settle = lambda: self._settle(mesh)
        await self.app.making.hold(mesh, prekey.row)

    async def _settle(self, mesh: Mesh) -> None:
        """Enter, or leave nothing behind. Without a word from the other side the broker is asked whether we are in: it may
        have been lost after the other side had signed us in."""
        is_in = self._verdict == YES or (None if self._verdict == NO else await self._ask())
        if self._verdict == NO or is_in is False:
            await self.app.making.release(mesh)
            return
        if is_in:
            self.attempt.move(ENTERING)
        # One that could not be asked about goes on by itself, visibly: it ends when the broker says that we are not in.
        await self.app.making.enter(mesh)
        if is_in:
            await self.app.making.wait_active(mesh, ENTER_S)
            self.attempt.mesh = mesh.slug
            self.attempt.move(DONE)

    async def _ask(self) -> bool | None:
        """Whether the mesh lists this device; None where the broker does not say."""
        app = self.app
        with trio.move_on_after(ASK_S):
            try:
                async with app.brokers.visit(self.link.broker_url) as greeting:
                    await say_hello(
                        greeting,
                        self.link.mesh_id,
                        app.node.key,
                        generation=app.node.generation,
                        nonce=app.node.seams.rng(32),
                    )
                return True
            except MeshError as error:
                return False if error.code == "broker_refused" else None
            except (LinkClosed, trio.TooSlowError):
                return None
        return None
