"""What seeds have found, each held down by a story of its own."""

from trio.testing import MockClock

from world.world import open_world


async def test_a_session_resumed_at_once_is_the_same_session(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ann, bob = await world.mesh("ann", "bob")
        web = await ann.claude("web")
        key = web.key
        await bob.until_knows("ann/web")
        await web.end()
        again = await web.resume()  # before anything has told the daemon that the old process is gone
        assert again.key == key
        assert [session.name for session in ann.app.sessions.live()] == ["web"]
        sent = await bob.send("ann/web", "still you?")
        await bob.until_state(sent, "turn_started")
        assert any("still you?" in body for body in again.seen)
