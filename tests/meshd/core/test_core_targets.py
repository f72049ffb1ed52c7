"""Whom a name means: every rule of names, and that nothing is ever guessed."""

import pytest

from mesh_protocol.ids import DeviceId, MemberId
from mesh_protocol.wire.errors import MeshError
from meshd.targets import MAX_CANDIDATES, Directory, Recipient, resolve, resolve_all

ANN, BOB, EVE = (MemberId(bytes([n]) * 16) for n in (0xA1, 0xB2, 0xE3))
LAPTOP, DESK, BOBS, EVES = (DeviceId(bytes([n]) * 32) for n in (0x11, 0x12, 0x21, 0x31))

# Ann sits at her laptop and has a second machine; Eve's machine was never heard.
HERE = Directory(
    names={ANN: "ann", BOB: "Bob", EVE: "eve"},
    devices={ANN: (LAPTOP, DESK), BOB: (BOBS,), EVE: (EVES,)},
    sessions={LAPTOP: ["web", "api"], DESK: ["docs"], BOBS: ["web", "Docs"]},
    own_member=ANN,
    own_device=LAPTOP,
)


def refused(target: str, directory: Directory = HERE) -> MeshError:
    with pytest.raises(MeshError) as caught:
        resolve(directory, target)
    return caught.value


@pytest.mark.parametrize("target", ["Bob", "bob", "BOB", " bob ", BOB.hex(), BOB.hex()[:8], BOBS.hex()[:8], BOBS.hex()])
def test_a_person_is_meant_by_name_in_any_case_and_by_the_beginning_of_a_key(target: str) -> None:
    assert resolve(HERE, target) == Recipient("Bob", BOB, (BOBS,), "")


def test_one_name_may_be_typed_in_several_forms() -> None:
    accents = HERE._replace(names={**HERE.names, EVE: "jos\u00e9"}, sessions={BOBS: ["caf\u00e9"]})
    assert resolve(accents, "jose\u0301").member == EVE
    assert resolve(accents, "bob/cafe\u0301").session == "caf\u00e9"
    assert resolve(accents, "\uff42\uff4f\uff42").member == BOB, "full-width letters"


def test_a_person_is_reached_on_all_machines() -> None:
    assert resolve(HERE, "ann") == Recipient("ann", ANN, (LAPTOP, DESK), "")


def test_the_beginning_of_a_second_machines_key_means_its_person() -> None:
    assert resolve(HERE, DESK.hex()[:12]).devices == (LAPTOP, DESK)


@pytest.mark.parametrize("target", [BOB.hex()[:7], BOB.hex() + "00", "b2b2b2bx", ""])
def test_too_little_of_a_key_or_none_at_all_means_nobody(target: str) -> None:
    assert refused(target).code == "unknown_recipient"


def test_a_name_that_looks_like_a_key_goes_before_the_key() -> None:
    odd = HERE._replace(names={**HERE.names, EVE: BOB.hex()[:8]})
    assert resolve(odd, BOB.hex()[:8]).member == EVE


def test_a_beginning_that_several_keys_share_is_ambiguous() -> None:
    twin = MemberId(BOB[:8] + bytes(8))
    crowd = HERE._replace(names={**HERE.names, twin: "ben"}, devices={**HERE.devices, twin: ()})
    error = refused(BOB.hex()[:16], crowd)
    assert (error.code, error.data["candidates"]) == ("ambiguous_recipient", ["Bob", "ben"])


def test_a_session_is_meant_behind_its_person_and_called_by_its_own_name() -> None:
    assert resolve(HERE, "bob/web") == Recipient("Bob/web", BOB, (BOBS,), "web")
    assert resolve(HERE, "BOB/DOCS") == Recipient("Bob/Docs", BOB, (BOBS,), "Docs")
    assert resolve(HERE, f"{BOB.hex()[:8]}/web").to == "Bob/web"


def test_a_session_goes_to_the_machine_that_has_it() -> None:
    assert resolve(HERE, "ann/docs").devices == (DESK,)
    assert resolve(HERE, "ann/api").devices == (LAPTOP,)


def test_a_session_that_several_machines_of_its_person_have_is_reached_on_all() -> None:
    both = HERE._replace(sessions={**HERE.sessions, DESK: ["web"]})
    assert resolve(both, "ann/web").devices == (LAPTOP, DESK)


def test_a_machine_that_was_never_heard_may_have_any_session() -> None:
    assert resolve(HERE, "eve/Anything") == Recipient("eve/Anything", EVE, (EVES,), "Anything")


def test_a_machine_that_was_heard_has_only_what_it_said() -> None:
    error = refused("bob/api")
    assert error.code == "unknown_recipient"
    assert "Bob/web" in error.data["candidates"]  # type: ignore[operator]


@pytest.mark.parametrize("session", ["", "x" * 129, "\U00010330" * 33, "a\nb", "a/b", "\u202eweb"])
def test_what_cannot_be_a_sessions_name_is_nobodys(session: str) -> None:
    """Such a name would travel inside an envelope, unread by this machine, because the other one was never heard."""
    assert refused(f"eve/{session}").code == "unknown_recipient"


def test_a_session_of_this_machine_is_meant_without_its_person() -> None:
    assert resolve(HERE, "web") == Recipient("ann/web", ANN, (LAPTOP,), "web")
    assert resolve(HERE, "WEB").session == "web"
    assert refused("docs").code == "unknown_recipient", "the other machine's session needs its person"


def test_a_person_and_a_session_of_one_name_are_ambiguous() -> None:
    odd = HERE._replace(sessions={**HERE.sessions, LAPTOP: ["bob"]})
    error = refused("bob", odd)
    assert (error.code, error.data["candidates"]) == ("ambiguous_recipient", ["Bob", "ann/bob"])
    assert resolve(odd, "ann/bob").session == "bob"


def test_two_people_of_one_name_are_ambiguous_until_one_is_named_in_full() -> None:
    odd = HERE._replace(names={ANN: "ann", BOB: "sam", EVE: "sam~e3e3"})
    assert resolve(odd, "sam").member == BOB
    assert resolve(odd, "sam~e3e3").member == EVE


def test_a_session_that_came_back_under_its_name_is_one_session() -> None:
    twice = HERE._replace(sessions={**HERE.sessions, LAPTOP: ["web", "web"]})
    assert resolve(twice, "web").to == "ann/web"


def test_an_unknown_name_is_answered_with_the_nearest_ones_first() -> None:
    error = refused("bob/webb")
    assert error.data["candidates"][0] == "Bob/web"  # type: ignore[index]
    assert set(refused("zzz").data["candidates"]) == {  # type: ignore[arg-type]
        *("ann", "Bob", "eve", "ann/web", "ann/api", "ann/docs", "Bob/web", "Bob/Docs")
    }


def test_a_crowd_is_cut_to_a_readable_number_of_candidates() -> None:
    crowd = HERE._replace(names={MemberId(bytes([n]) * 16): f"user{n}" for n in range(100)}, devices={}, sessions={})
    assert len(refused("nobody", crowd).data["candidates"]) == MAX_CANDIDATES  # type: ignore[arg-type]


def test_a_directory_without_its_own_person_still_names_local_sessions() -> None:
    assert resolve(HERE._replace(names={BOB: "Bob"}), "web").to == "me/web"


def to(targets: list[str], directory: Directory = HERE) -> list[str]:
    return [recipient.to for recipient in resolve_all(directory, targets).recipients]


def test_a_list_names_each_recipient_once() -> None:
    assert to(["bob", "eve", "BOB", BOB.hex()]) == ["Bob", "eve"]
    assert to(["ann/web", "web", "ANN/WEB"]) == ["ann/web"]


def test_a_person_and_his_sessions_may_be_meant_together() -> None:
    assert to(["bob/web", "bob", "eve"]) == ["Bob/web", "Bob", "eve"]
    assert to(["ann/web", "ann/api", "ann/docs"]) == ["ann/web", "ann/api", "ann/docs"], "two of one machine"


def test_one_unknown_name_refuses_the_whole_list() -> None:
    with pytest.raises(MeshError, match="unknown_recipient"):
        resolve_all(HERE, ["bob", "nobody"])
    with pytest.raises(MeshError, match="unknown_recipient"):
        resolve_all(HERE, ["*", "@nobody"])
