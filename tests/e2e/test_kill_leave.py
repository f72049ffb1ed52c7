"""kill -9 while somebody leaves: what he had is gone, who signs it does it after all, and he can come back."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio

from machines.pair import open_pair

pytestmark = pytest.mark.slow


def rows(path: Path) -> dict[str, int]:
    """Rows in each table of a daemon's database that should hold none of a mesh that is left."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        tables = ("epoch_key", "prekey", "onetime", "inbox", "stream", "profile", "verified")
        return {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


async def test_kill_9_on_either_side_of_a_leave_leaves_it_said_and_done(tmp_path: Path) -> None:
    async with open_pair(tmp_path) as pair:
        alice, bob = pair.alice, pair.bob
        sent = await alice.call("message.send", "for bob", to="bob", wait="stored", timeout=30.0)
        assert sent["reached"]
        (database,) = (tmp_path / "bob").rglob("mesh.db")
        assert rows(database)["inbox"] == 1
        await alice.kill()
        left = await bob.call("mesh.leave", mesh="team", wait_s=0)
        assert left["state"] == "leaving"
        await bob.kill()
        assert set(rows(database).values()) == {0}
        await bob.start()
        (mesh,) = (await bob.call("mesh.list"))["meshes"]
        assert mesh["state"] == "leaving"
        alice.doom("FP-17")
        await alice.start()
        with trio.fail_after(60):  # she dies as she signs it
            await alice.process.wait()
        alice.doom(None)
        await alice.kill()
        await alice.start()
        await alice.until_online()
        with trio.fail_after(60):
            while (await bob.call("mesh.list"))["meshes"]:
                await trio.sleep(0.05)
        states = {row["member"]: row["state"] for row in (await alice.call("member.list"))["members"]}
        assert states == {"alice": "member", "bob": "removed"}
        invite = await alice.call("mesh.invite", mesh="team")
        await bob.call("mesh.join", url=invite["url"], me="bob", wait_s=20.0)
        await bob.until_online()
        sent = await alice.call("message.send", "back again", to="bob", wait="stored", timeout=30.0)
        assert sent["reached"]
