"""`mesh://` links: read strictly, shown, and followed only when a person says so."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminal_kit.screen import Terminal

from client_kit.answers import result, sent
from client_kit.programs import MESH, mesh
from client_kit.scripted import Scripted
from mesh_clients.cli.links import InviteLink, PeerLink, parse_link
from mesh_protocol.wire.errors import MeshError

INVITE = f"mesh://join/1?m={'A' * 43}&i={'B' * 43}&b=wss%3A%2F%2Fbroker.example.org#{'S' * 43}"


@pytest.mark.parametrize(
    ("link", "found"),
    [
        (INVITE, InviteLink(INVITE, "wss://broker.example.org")),
        ("mesh://to/bob", PeerLink("bob", "", "")),
        ("mesh://to/bob/web", PeerLink("bob/web", "", "")),
        ("mesh://to/@web%2Fui", PeerLink("@web/ui", "", "")),
        ("mesh://to/J%C3%BCrgen", PeerLink("Jürgen", "", "")),
        ("mesh://to/bob?mesh=team&text=hello%2C%20you%0Athere", PeerLink("bob", "team", "hello, you\nthere")),
        ("mesh://to/bob?text=a%3Db", PeerLink("bob", "", "a=b")),
    ],
)
def test_a_link_is_read(link: str, found: InviteLink | PeerLink) -> None:
    assert parse_link(link) == found


@pytest.mark.parametrize(
    "link",
    [
        "",
        "bob",
        "https://example.org",
        "MESH://to/bob",
        "mesh:to/bob",
        "mesh://",
        "mesh://join/2?x",
        INVITE[:-1],
        INVITE + "x",
        INVITE.replace("&b=", "&x="),
        INVITE.replace("%3A", "%3"),
        "mesh://run/rm",
        "mesh://to/",
        "mesh://to/*",
        "mesh://to/%2A",
        "mesh://to/bob,ann",
        "mesh://to/bob%2Cann",
        "mesh://to/bob/web/more",
        "mesh://to/bob%2Fweb",
        "mesh://to/@web/ui",
        "mesh://to/@",
        "mesh://to/-x",
        "mesh://to/bob web",
        "mesh://to/bob%1b[2J",
        "mesh://to/bob%FF",
        "mesh://to/bob%0A",
        "mesh://to/bob%E2%80%AE",
        "mesh://to/bob?text=%1B[2J",
        "mesh://to/bob?text=%E2%80%AE",
        "mesh://to/bob?text=a&text=b",
        "mesh://to/bob?priority=now",
        "mesh://to/bob?mesh=%0A",
        "mesh://to/bob?text=" + "x" * 2001,
        "mesh://to/bob#x",
        "mesh://to/" + "x" * 5000,
        "mesh://to/bo\u0431",
        "mesh://to/bob\n",
    ],
)
def test_anything_else_is_refused_and_not_repeated(link: str) -> None:
    with pytest.raises(MeshError) as caught:
        parse_link(link)
    assert caught.value.code == "bad_request"
    assert caught.value.message.startswith("the link cannot be opened: ")
    assert "SSSS" not in caught.value.message
    assert caught.value.message.isprintable()


NAMES = st.text(st.sampled_from("abzAZ09-_.~üж鷺"), min_size=1, max_size=20).filter(lambda name: name[0] not in "-~")


@given(person=NAMES, session=NAMES | st.just(""), text=st.text(st.sampled_from("a &=?#%/ü\n\t+"), max_size=40))
def test_a_link_that_was_made_is_read_as_what_it_was_made_of(person: str, session: str, text: str) -> None:
    made = PeerLink(f"{person}/{session}" if session else person, "team", text)
    assert parse_link(made.url()) == made


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_whatever_stands_behind_it_a_link_is_read_or_refused(rest: str) -> None:
    for start in ("", "mesh://", "mesh://to/", "mesh://to/bob?"):
        with suppress(MeshError):  # and nothing else
            parse_link(start + rest)


# The command.


@contextmanager
def opened(environ: dict, link: str) -> Iterator[Terminal]:
    with Terminal([*MESH, "open", link], environ) as terminal:
        yield terminal


def calls(daemon: Scripted, method: str) -> list[dict]:
    return [dict(each.params) for each in daemon.requests if each.method == method]


@pytest.fixture
def daemon(scripted: Scripted) -> Scripted:
    scripted.on_request["mesh.join"] = result({"id": "ab", "mesh": "lab", "me": "ann", "state": "joined"})
    scripted.on_request["message.send"] = result(sent("queued"))
    scripted.start()
    return scripted


@pytest.mark.parametrize("answer", ["", "n", "nope", "\x04"])
@pytest.mark.parametrize("link", [INVITE, "mesh://to/bob?text=hello"])
def test_without_a_yes_nothing_is_done(daemon: Scripted, environ: dict, link: str, answer: str) -> None:
    with opened(environ, link) as terminal:
        terminal.shows("[y/N]")
        terminal.keys(answer if answer == "\x04" else f"{answer}\r")
        assert terminal.ends() == 2
        terminal.shows("nothing was done")
    assert daemon.requests == []


def test_an_invite_is_joined_after_it_was_said_where_to(daemon: Scripted, environ: dict) -> None:
    with opened(environ, INVITE) as terminal:
        terminal.shows("Its broker: wss://broker.example.org")
        terminal.shows("[y/N]")
        assert b"SSSS" not in terminal.written
        terminal.keys("y\r")
        assert terminal.ends() == 0
        terminal.shows("Joined lab")
    (joined,) = calls(daemon, "mesh.join")
    assert joined["url"] == INVITE


def test_a_link_of_another_machine_is_followed_after_a_yes(daemon: Scripted, environ: dict) -> None:
    link = f"mesh://link/1?m={'M' * 43}&b=wss%3A%2F%2Fbroker.example.org#{'S' * 43}"
    step = {"id": "0" * 16, "mesh": "lab", "state": "done", "words": [], "device": "ab" * 32}
    daemon.on_request["link.join"] = daemon.on_request["link.wait"] = result(step)
    with opened(environ, link) as terminal:
        terminal.shows("Its broker: wss://broker.example.org")
        terminal.shows("Link this machine? [y/N]")
        assert b"SSSS" not in terminal.written
        terminal.keys("y\r")
        assert terminal.ends() == 0
        terminal.shows("This machine is yours in lab now")
    (joined,) = calls(daemon, "link.join")
    assert joined["url"] == link


def test_a_pasted_link_is_not_shown(daemon: Scripted, environ: dict) -> None:
    with opened(environ, "-") as terminal:
        terminal.shows("not shown")
        terminal.keys(f"{INVITE}\r")
        terminal.shows("[y/N]")
        assert b"SSSS" not in terminal.written
        terminal.keys("\x03")
        assert terminal.ends() == 130
    assert daemon.requests == []


def test_what_a_link_would_write_is_shown_before_it_is_sent(daemon: Scripted, environ: dict) -> None:
    with opened(environ, "mesh://to/bob/web?mesh=team&text=hello%0Athere") as terminal:
        terminal.shows("A message to bob/web in team.")
        terminal.shows("  there")
        terminal.shows("[y/N]")
        terminal.keys("yes\r")
        assert terminal.ends() == 0
    (request,) = [each for each in daemon.requests if each.method == "message.send"]
    assert (request.params["to"], request.params["mesh"]) == ("bob/web", "team")
    assert request.body == b"hello\nthere"


def test_an_address_asks_what_to_write(daemon: Scripted, environ: dict) -> None:
    with opened(environ, "mesh://to/@web%2Fui") as terminal:
        terminal.shows("What to write")
        terminal.keys("who has the build?\r")
        assert terminal.ends() == 0
    (request,) = [each for each in daemon.requests if each.method == "message.send"]
    assert (request.params["to"], request.body) == ("@web/ui", b"who has the build?")
    daemon.requests.clear()
    with opened(environ, "mesh://to/bob") as terminal:
        terminal.shows("What to write")
        terminal.keys("\r")
        assert terminal.ends() == 2
    assert daemon.requests == []


@pytest.mark.parametrize("link", [INVITE, "mesh://to/bob?text=hello"])
@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_where_nobody_can_be_asked_nothing_is_opened(
    daemon: Scripted, environ: dict, link: str, arguments: tuple[str, ...]
) -> None:
    done = mesh(environ, "open", link, *arguments)
    assert done.returncode == 2
    assert b"nobody can be asked" in done.stderr
    assert b"SSSS" not in done.stderr + done.stdout
    assert daemon.requests == []


def test_a_link_that_is_none_is_said_before_anything_is_asked(daemon: Scripted, environ: dict) -> None:
    done = mesh(environ, "open", "mesh://run/rm")
    assert done.returncode == 2
    assert b"neither mesh://join/" in done.stderr
