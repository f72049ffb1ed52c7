"""Whom `@group` and `*` mean, by what this machine knows."""

import pytest

from mesh_protocol.ids import DeviceId, MemberId
from mesh_protocol.profile import GroupRole, SessionGroups
from mesh_protocol.wire.errors import MeshError
from meshd.targets import Directory, Recipient, resolve_all, resolve_many

ANN, BOB, EVE, GUS = (MemberId(bytes([n]) * 16) for n in (0xA1, 0xB2, 0xE3, 0xF4))
LAPTOP, DESK, BOBS, EVES = (DeviceId(bytes([n]) * 32) for n in (0x11, 0x12, 0x21, 0x31))


def session(name: str, *groups: str) -> SessionGroups:
    return SessionGroups(name, tuple(GroupRole(group, "") for group in groups))


# Ann sits at her laptop and has a desk too; Gus has no machine any more.
HERE = Directory(
    names={ANN: "ann", BOB: "Bob", EVE: "eve", GUS: "gus"},
    devices={ANN: (LAPTOP, DESK), BOB: (BOBS,), EVE: (EVES,), GUS: ()},
    sessions={LAPTOP: ["web", "api"], BOBS: ["ui"]},
    own_member=ANN,
    own_device=LAPTOP,
    groups={
        LAPTOP: [session("web", "web/ui", "all")],
        DESK: [session("docs", "Docs")],
        BOBS: [session("ui", "Web/UI"), session("db", "website")],
        EVES: [session("api", "web/api/v2", "on-call")],
    },
    visible=["web", "api"],
)
WEB = HERE._replace(writer="web")


def many(target: str, directory: Directory = HERE) -> dict[str, tuple[DeviceId, ...]]:
    found = resolve_many(directory, target)
    assert found is not None
    return {recipient.to: recipient.devices for recipient in found}


def refused(target: str, directory: Directory = HERE) -> MeshError:
    with pytest.raises(MeshError) as caught:
        resolve_many(directory, target)
    return caught.value


@pytest.mark.parametrize("target", ["bob", "bob/ui", "web", "", "/", "bob/@", BOB.hex()])
def test_other_names_mean_no_many(target: str) -> None:
    if target == "bob/@":
        assert refused(target).code == "unknown_recipient"
    else:
        assert resolve_many(HERE, target) is None


def test_a_group_means_whoever_is_in_it_or_below_it() -> None:
    assert many("@web") == {"ann/@web": (LAPTOP,), "Bob/@web": (BOBS,), "eve/@web": (EVES,)}
    assert many("@web/ui") == {"ann/@web/ui": (LAPTOP,), "Bob/@web/ui": (BOBS,)}
    assert many("@web/api") == {"eve/@web/api": (EVES,)}
    assert resolve_many(HERE, " @on-call ") == [Recipient("eve/@on-call", EVE, (EVES,), "@on-call")]


@pytest.mark.parametrize("target", ["@WEBSITE", "@\uff57ebsite", "@website"])
def test_a_group_is_meant_in_any_case_and_width(target: str) -> None:
    assert [*many(target).values()] == [(BOBS,)]


def test_a_second_machine_of_the_sender_is_reached_too() -> None:
    assert many("@docs") == {"ann/@docs": (DESK,)}


def test_the_session_that_asks_is_not_in_its_own_audience() -> None:
    assert many("@web", WEB) == {"Bob/@web": (BOBS,), "eve/@web": (EVES,)}
    assert many("@all", WEB) == {}, "nobody else, which is not the same as nobody"


def test_a_session_of_another_machine_that_is_called_like_the_sender_is_meant() -> None:
    twin = WEB._replace(groups={**HERE.groups, DESK: [session("web", "all")]})
    assert many("@all", twin) == {"ann/@all": (DESK,)}


def test_the_part_of_a_group_that_is_with_one_person_can_be_meant() -> None:
    assert many("bob/@web/ui") == {"Bob/@web/ui": (BOBS,)}
    assert many(f"{EVE.hex()[:8]}/@web") == {"eve/@web": (EVES,)}
    assert many("eve/*") == {"eve/*": (EVES,)}
    assert refused("bob/@on-call").code == "unknown_recipient"
    assert refused("nobody/@web").code == "unknown_recipient"
    assert refused("nobody/*").code == "unknown_recipient"


def test_the_beginning_of_two_keys_means_neither() -> None:
    twin = MemberId(EVE[:8] + bytes(8))
    crowd = HERE._replace(names={**HERE.names, twin: "ida"}, devices={**HERE.devices, twin: (EVES,)})
    error = refused(f"{EVE.hex()[:8]}/@web", crowd)
    assert (error.code, error.data["candidates"]) == ("ambiguous_recipient", ["eve/@web", "ida/@web"])


def test_everybody_is_every_member_with_a_machine() -> None:
    assert many("*") == {"ann/*": (LAPTOP, DESK), "Bob/*": (BOBS,), "eve/*": (EVES,)}
    assert many("*", WEB)["ann/*"] == (LAPTOP, DESK), "the person here is not the session that asks"


def test_who_is_alone_on_his_machine_does_not_write_to_himself() -> None:
    assert many("*", HERE._replace(visible=[]))["ann/*"] == (DESK,)
    alone = HERE._replace(names={ANN: "ann"}, devices={ANN: (LAPTOP,)}, visible=[])
    assert many("*", alone) == {}


def test_a_group_that_nobody_is_known_to_be_in_is_refused_with_those_there_are() -> None:
    error = refused("@wbe")
    assert error.code == "unknown_recipient"
    candidates = error.data["candidates"]
    assert isinstance(candidates, list)
    assert candidates[0] == "@website" or "@web/ui" in candidates[:4]
    assert {"@web/ui", "@Docs", "@on-call", "@website"} <= set(candidates)


@pytest.mark.parametrize("target", ["@", "@web/", "@we b", "@a,b", "@*", "@web\n", "@" + "g" * 129])
def test_what_cannot_be_a_group_is_nobodys(target: str) -> None:
    if target.strip() != target:
        assert many(target)
    else:
        assert refused(target).code == "unknown_recipient"


def test_a_list_may_mix_all_kinds_and_says_what_of_it_meant_many() -> None:
    resolved = resolve_all(HERE, ["bob", "@web/ui", "*", "@WEB/ui", "web"])
    assert [r.to for r in resolved.recipients] == [
        "Bob",
        *("ann/@web/ui", "Bob/@web/ui"),
        *("ann/*", "Bob/*", "eve/*"),
        "ann/web",
    ]
    assert resolved.audience == "@web/ui, *"
    assert resolved.wanted == ("*", "@web/ui", "ann/web", "bob")
    assert resolve_all(HERE, ["bob"]).audience == ""


def test_two_requests_are_the_same_whoever_came_or_went_meanwhile() -> None:
    fewer = HERE._replace(groups={EVES: HERE.groups[EVES]})
    assert resolve_all(HERE, ["eve", "@web"]).wanted == resolve_all(fewer, ["@Web", "EVE"]).wanted
