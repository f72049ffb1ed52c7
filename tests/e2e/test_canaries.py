"""What members write, and what they are called, is nowhere outside their machines, and in no log; contents are sealed at home."""

import base64
import json
import os
import secrets
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from machines import agent
from machines.canary import files_of, find
from machines.machine import BrokerProgram, Machine, free_port, running
from machines.pair import join
from machines.recorder import recording, unmasked
from machines.talk import LinkClosed
from mesh_protocol.wire.errors import MeshError
from meshd.columns import open_column
from meshd.keys.argon2 import stretch
from meshd.keys.keyring_backend import KeyringBackend
from meshd.keys.record import open_plain
from meshd.keys.store import KeyStore

SESSION_ID = "0f0e0d0c-0b0a-4909-8807-060504030201"


def _canary(word: str) -> str:
    return f"{word}{secrets.token_hex(6)}"


class Planted:
    """One canary for each thing that a person or an agent says."""

    def __init__(self) -> None:
        self.mesh = _canary("mesh")
        self.alice, self.bob = _canary("alice"), _canary("bob")
        self.message, self.answer, self.long = _canary("message"), _canary("answer"), _canary("long") * 3000
        self.session, self.summary, self.title, self.bio = (_canary(w) for w in ("session", "summary", "title", "bio"))
        self.from_agent, self.wrong_name, self.method = _canary("agent"), _canary("wrong"), _canary("method")
        self.hook, self.line, self.link = _canary("hook"), _canary("line"), _canary("link")

    def words(self) -> dict[str, bytes]:
        return {name: value[:60].encode() for name, value in vars(self).items()}

    def contents(self) -> dict[str, bytes]:
        return {name: self.words()[name] for name in ("message", "answer", "long", "from_agent")}


def _secrets_of(machine: Machine) -> dict[str, bytes]:
    """Every private byte of a stopped machine: seeds, store key, mesh keys, prekeys."""
    backend = KeyringBackend({}, os.geteuid(), "linux")
    store = KeyStore(machine.home / "keys", "file", backend, stretch, os.urandom)
    try:
        identity = store.load()
        assert identity is not None
        assert store._opened is not None
        plain = bytes(open_plain(*store._opened))
        found = {"device seed": plain[:32], "store key": plain[32:]}
        key = bytes(identity.store_key)
    finally:
        store.close()
        backend.close()
    with sqlite3.connect(machine.home / "mesh.db") as db:
        for mesh, secret in db.execute("SELECT mesh, secret FROM mesh"):
            found[f"name key {mesh.hex()[:4]}"] = open_column(key, "mesh", "secret", mesh, secret)
        for mesh, epoch, sealed in db.execute("SELECT mesh, epoch, sealed FROM epoch_key"):
            row = mesh + epoch.to_bytes(8, "little")
            found[f"epoch key {epoch}"] = open_column(key, "epoch_key", "sealed", row, sealed)
        for table in ("prekey", "onetime"):
            for mesh, number, sealed in db.execute(f"SELECT mesh, prekey_id, sealed FROM {table}"):
                row = mesh + number.to_bytes(8, "little")
                found[f"{table} {number}"] = open_column(key, table, "sealed", row, sealed)
    assert any(name.startswith("onetime") for name in found)
    assert len(found) >= 5
    return {f"{machine.name}'s {name}": value for name, value in found.items()}


async def _act_as_agent(folder: Path, machine: Machine, planted: Planted) -> list[dict[str, Any]]:
    """A session of a program called `claude`, in a folder whose name becomes the session's."""
    program = folder / "bin" / "claude"
    program.parent.mkdir(exist_ok=True)
    shutil.copy(shutil.which("bash") or "/bin/bash", program)
    work = folder / planted.session
    work.mkdir(exist_ok=True)
    steps: list[tuple[str, dict[str, Any], str]] = [
        ("presence.summary", {"summary": planted.summary}, ""),
        ("presence.profile", {"title": planted.title, "bio": planted.bio, "role": "tester"}, ""),
        ("message.send", {"to": planted.alice, "wait": "stored", "timeout": 10}, planted.from_agent),
    ]
    (folder / "steps.json").write_text(json.dumps(steps))
    words = [sys.executable, agent.__file__, str(machine.home), str(folder / "claude-config"), SESSION_ID]
    script = " ".join([*words, str(folder / "steps.json")])
    done = await trio.run_process(
        [str(program), "-c", f"{script}; until [ -e {folder / 'seen'} ]; do sleep 0.05; done"],
        cwd=work,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


async def _see_summary(folder: Path, machine: Machine, planted: Planted) -> None:
    """Let the session end once it was seen: with its end its summary goes."""
    try:
        with trio.fail_after(20):
            while planted.summary not in str(await machine.call("peer.list")):
                await trio.sleep(0.05)
    finally:
        (folder / "seen").touch()


async def _say_everything(folder: Path, alice: Machine, bob: Machine, planted: Planted) -> None:
    sent = await alice.call("message.send", planted.message, to=planted.bob, wait="stored")
    assert sent["reached"]
    await alice.call("message.send", planted.long, to=planted.bob, wait="stored", priority="low")
    await bob.call("message.send", planted.answer, to=planted.alice, wait="stored", reply_to=sent["id"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_see_summary, folder, alice, planted)
        answers = await _act_as_agent(folder, bob, planted)
    assert answers[0]["summary"] == planted.summary, answers
    assert answers[2]["state"] == "stored", answers
    # What is refused is not quoted in a log either.
    for method, text, params in (
        ("message.send", planted.message, {"to": planted.wrong_name}),
        ("message.send", planted.message, {"to": planted.bob, "mesh": planted.wrong_name}),
        ("mesh.join", "", {"url": f"mesh://join/1?m={planted.link}#{planted.link}"}),
        ("mesh.new", "", {"name": planted.wrong_name, "me": planted.wrong_name, "broker": "ws://127.0.0.1:1"}),
        ("hook", json.dumps({"hook_event_name": planted.hook, "prompt": planted.hook}), {}),
        ("hook", "{" + planted.hook, {}),
        ("statusline", "{" + planted.hook, {}),
    ):
        await _try(alice, method, text, params)
    async with alice.talk() as talk:
        await talk.connection.call("mcp.open", {})
        for line in (planted.line, json.dumps({"jsonrpc": "2.0", "id": 1, "method": planted.line}), "{" + planted.line):
            await talk.connection.notify("mcp.line", {}, line.encode())
        with pytest.raises(MeshError):
            await talk.connection.call(planted.method, {planted.method: planted.method}, planted.method.encode())


async def _try(machine: Machine, method: str, text: str, params: dict[str, object]) -> None:
    try:
        async with machine.talk() as talk:
            given: Any = params
            await talk.connection.call(method, given, text.encode(), seconds=20)
    except (MeshError, LinkClosed):
        return


async def test_no_canary_sings_outside_its_home(tmp_path: Path) -> None:
    planted = Planted()
    alice, bob = _machine(tmp_path, "one"), _machine(tmp_path, "two")
    alice.name, bob.name = planted.alice, planted.bob
    broker = BrokerProgram(tmp_path)
    port = free_port()
    async with running(broker, alice, bob), recording(port, broker.port) as recorder:
        await join(alice, bob, f"ws://127.0.0.1:{port}", mesh=planted.mesh)
        invite = await alice.call("mesh.invite")
        await alice.until_online()
        await bob.until_online()
        await _say_everything(tmp_path, alice, bob, planted)
        mesh_id = bytes.fromhex((await alice.call("mesh.list"))["meshes"][0]["id"])
        texts = {row["message"] for row in (await bob.call("inbox.read"))["messages"]}
        assert texts == {planted.message, planted.long}
        await alice.stop()
        await bob.stop()
        hidden = {**planted.words(), **_secrets_of(alice), **_secrets_of(bob)}
        hidden["invite secret"] = _fragment(invite["url"])
        outside = [
            ("the wire", recorder.words()),
            ("the broker's log", broker.log.read_bytes()),
            *files_of(broker.data),
        ]
        found = [line for place, data in outside for line in find(place, data, hidden)]
        assert not found, "\n".join(found)
        # The search itself: what a broker must know is found in the same places.
        for place, data in outside[:1] + [each for each in outside if each[0].endswith("broker.db-wal")]:
            assert find(place, data, {"mesh id": mesh_id}), place
    for machine in (alice, bob):
        said = machine.log.read_bytes()
        assert b'"event"' in said
        assert not (sung := find(f"the log of {machine.name}", said, hidden)), "\n".join(sung)


def _machine(folder: Path, name: str) -> Machine:
    return Machine(name, folder, log_level="debug")


def _fragment(url: str) -> bytes:
    text = url.partition("#")[2]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_contents_and_keys_lie_sealed_in_the_home(tmp_path: Path) -> None:
    planted = Planted()
    alice, bob = _machine(tmp_path, "one"), _machine(tmp_path, "two")
    alice.name, bob.name = planted.alice, planted.bob
    broker = BrokerProgram(tmp_path)
    async with running(broker, alice, bob):
        await join(alice, bob, broker.url, mesh=planted.mesh)
        await _say_everything(tmp_path, alice, bob, planted)
        await bob.call("inbox.read")
        await alice.kill()  # with the log of its database as it stands
        await bob.kill()
    for machine in (alice, bob):
        hidden = {**planted.contents(), **_secrets_of(machine)}
        found = [line for place, data in files_of(machine.home) for line in find(place, data, hidden)]
        assert not found, "\n".join(found)
        kept = b"".join(data for _, data in files_of(machine.home))
        assert planted.mesh.encode() in kept, "the search does not see what is there"


def test_the_search_sees_a_canary_in_every_form_and_place() -> None:
    canary = b"a canary of thirty-two bytes...."
    for before in (b"", b"x", b"xy", b"xyz"):
        whole = before + canary + b"and what follows"
        for data in (
            whole,
            whole.hex().encode(),
            base64.b64encode(whole),
            base64.urlsafe_b64encode(whole),
            whole[::-1],
        ):
            assert find("here", data, {"it": canary}), data
    assert find("here", "…a canary of thirty-two bytes....…".encode("utf-16-le"), {"it": canary})
    assert not find("here", b"a canary of thirty-three bytes...", {"it": canary})
    masked = bytes(byte ^ b"mask"[index % 4] for index, byte in enumerate(canary))
    stream = b"GET / HTTP/1.1\r\n\r\n" + bytes([0x82, 0x80 | len(canary)]) + b"mask" + masked
    assert not find("here", stream, {"it": canary})
    assert find("here", unmasked(stream), {"it": canary})
