from core_kit.town import Town


async def test_smoke(town: Town) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    await alice.send("bob", "hello")
    assert await bob.texts() == ["hello"]
    await town.require_safe_mesh_works()
    await bob.restart()
    await bob.until_online()
    await alice.send("bob", "hello2")
    assert await bob.texts() == ["hello", "hello2"]
