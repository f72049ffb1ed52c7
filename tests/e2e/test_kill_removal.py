"""kill -9 of a daemon at the turn of an epoch: those who stay have the new key, who was removed stays out."""

import signal
from pathlib import Path

import pytest
import trio

from machines.machine import Machine, running
from machines.pair import open_pair
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.errors import MeshError

pytestmark = pytest.mark.slow


async def test_kill_9_at_the_turn_of_an_epoch_leaves_nobody_without_the_key(tmp_path: Path) -> None:
    async with open_pair(tmp_path) as pair, running(carol := Machine("carol", tmp_path)):
        alice, bob = pair.alice, pair.bob
        invite = await alice.call("mesh.invite", mesh="team")
        await carol.call("mesh.join", url=invite["url"], me="carol", wait_s=20.0)
        await carol.until_online()
        alice.doom("FP-17")
        await alice.kill()
        await alice.start()
        await alice.until_online()
        with pytest.raises((LinkClosed, MeshError, OSError, trio.BrokenResourceError, trio.ClosedResourceError)):
            await alice.call("member.remove", peer="bob", wait_s=0)
        assert await alice.process.wait() == -signal.SIGKILL
        alice.doom(None)
        await alice.kill()
        await alice.start()
        await alice.until_online()
        states = {row["member"]: row["state"] for row in (await alice.call("member.list"))["members"]}
        assert states == {"alice": "member", "bob": "removed", "carol": "member"}

        async def carol_is_heard() -> bool:
            """Live frames open under the newest key alone."""
            peers = (await alice.call("peer.list"))["peers"]
            return any(peer["to"] == "carol" and peer["online"] for peer in peers)

        async def bob_is_out() -> bool:
            return any(mesh["link"] == "refused" for mesh in (await bob.call("mesh.list"))["meshes"])

        with trio.fail_after(60):
            while not (await carol_is_heard() and await bob_is_out()):
                await trio.sleep(0.05)
        sent = await carol.call("message.send", "still here", to="alice", wait="stored", timeout=30.0)
        assert sent["reached"]
