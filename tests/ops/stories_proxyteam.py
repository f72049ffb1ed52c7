"""Sharing the API proxy with clients of this host, and accounts for them."""

from exercised import refuses, works
from stories_proxy import machine, switched_on

from world.world import World

NOWHERE = "http://127.0.0.1:1/token"
"""A token endpoint that nobody listens on."""


@works("proxy.allow")
async def a_client_gets_a_url_of_its_own(world: World) -> None:
    ann = await switched_on(world)
    own = (await ann.call("proxy.env"))["url"]
    made = await ann.call("proxy.allow", name="ci")
    assert str(made["url"]).startswith("http://127.0.0.1:")
    assert made["url"] != own


@refuses("proxy.allow", "service_off")
async def a_client_is_allowed_while_the_proxy_is_off(world: World) -> str:
    return await (await machine(world)).refusal("proxy.allow", name="ci")


@refuses("proxy.allow", "not_found")
async def a_client_is_given_an_account_that_is_not_there(world: World) -> str:
    return await (await switched_on(world)).refusal("proxy.allow", name="ci", account="work")


@refuses("proxy.allow", "too_many")
async def more_clients_than_are_kept(world: World) -> str:
    ann = await switched_on(world)
    for number in range(100):
        await ann.call("proxy.allow", name=f"c-{number}")
    return await ann.refusal("proxy.allow", name="ci")


@works("proxy.clients")
async def clients_are_listed_without_their_tokens(world: World) -> None:
    assert (await (await machine(world)).call("proxy.clients"))["clients"] == []
    ann = await switched_on(world)
    await ann.call("proxy.account", name="work", secret="sk-1")
    await ann.call("proxy.allow", name="ci", account="work")
    (row,) = (await ann.call("proxy.clients"))["clients"]
    assert (row["name"], row["account"], sorted(row)) == ("ci", "work", ["account", "made_ms", "name"])


@works("proxy.revoke")
async def a_client_is_revoked(world: World) -> None:
    ann = await switched_on(world)
    await ann.call("proxy.allow", name="ci")
    await ann.call("proxy.revoke", name="ci")
    assert (await ann.call("proxy.clients"))["clients"] == []


@refuses("proxy.revoke", "not_found")
async def a_client_that_is_not_there_is_revoked(world: World) -> str:
    assert await (await machine(world)).refusal("proxy.revoke", name="ci") == "not_found"
    return await (await switched_on(world)).refusal("proxy.revoke", name="ci")


@works("proxy.account")
async def an_account_is_kept(world: World) -> None:
    ann = await switched_on(world)
    made = await ann.call("proxy.account", name="work", host="work.localhost", secret="sk-1")
    assert (made["name"], made["kind"], made["host"]) == ("work", "key", "work.localhost")
    assert "sk-1" not in str(made)
    for wrong in ({"kind": "login"}, {"token_url": NOWHERE}, {"host": "example.com"}, {"name": "../x"}):
        assert await ann.refusal("proxy.account", **{"name": "other", "secret": "sk", **wrong}) == "bad_request"


@refuses("proxy.account", "service_off")
async def an_account_is_added_while_the_proxy_is_off(world: World) -> str:
    return await (await machine(world)).refusal("proxy.account", name="work", secret="sk-1")


@refuses("proxy.account", "account_failed")
async def a_login_whose_endpoint_does_not_answer(world: World) -> str:
    ann = await switched_on(world)
    return await ann.refusal("proxy.account", name="team", kind="login", token_url=NOWHERE, client_id="c", secret="r-1")


@refuses("proxy.account", "too_many")
async def more_accounts_than_are_kept(world: World) -> str:
    ann = await switched_on(world)
    for number in range(50):
        await ann.call("proxy.account", name=f"a-{number}", secret="sk")
    return await ann.refusal("proxy.account", name="work", secret="sk")


@works("proxy.accounts")
async def accounts_are_listed_without_their_secrets(world: World) -> None:
    assert (await (await machine(world)).call("proxy.accounts"))["accounts"] == []
    ann = await switched_on(world)
    await ann.call("proxy.account", name="work", secret="sk-1")
    (row,) = (await ann.call("proxy.accounts"))["accounts"]
    assert row["name"] == "work"
    assert "sk-1" not in str(row)


@works("proxy.drop")
async def an_account_is_dropped(world: World) -> None:
    ann = await switched_on(world)
    await ann.call("proxy.account", name="work", secret="sk-1")
    await ann.call("proxy.drop", name="work")
    assert (await ann.call("proxy.accounts"))["accounts"] == []


@refuses("proxy.drop", "not_found")
async def an_account_that_is_not_there_is_dropped(world: World) -> str:
    assert await (await machine(world)).refusal("proxy.drop", name="work") == "not_found"
    return await (await switched_on(world)).refusal("proxy.drop", name="work")
