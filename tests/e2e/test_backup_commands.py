"""Passphrases, backups and restores by `mesh` commands on real daemons and a real broker, with the real Argon2id."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from homes import Home, open_broker, open_home, wait_until

pytestmark = pytest.mark.slow
SECRET = "correct horse battery\n"


@pytest.fixture
def team(tmp_path: Path) -> Iterator[tuple[Home, Home, Home]]:
    """Alice and bob in one mesh at a broker of their own, and a new machine."""
    with (
        open_broker(tmp_path) as url,
        open_home(tmp_path, "alice") as alice,
        open_home(tmp_path, "bob") as bob,
        open_home(tmp_path, "new") as new,
    ):
        alice.json("new", "team", "--name", "alice", "--broker", url)
        joined = bob.json("join", alice.json("invite")["url"], "--name", "bob", "--wait", "20")
        assert joined["state"] == "joined"
        yield alice, bob, new


def ran(home: Home, *arguments: str, text: str = SECRET) -> str:
    done = home.run(*arguments, text=text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def link(home: Home) -> str:
    return str(home.json("status")["meshes"][0]["link"])


def test_the_machine_of_a_backup_comes_back_and_the_lost_one_is_refused(team: tuple[Home, Home, Home]) -> None:
    alice, bob, new = team
    said = ran(alice, "backup", "b", "--recovery", "--drop-recovery", "--include-device-key")
    assert "read back and verified" in said
    assert "no longer has those of team" in said
    file = alice.folder / "b"
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in alice.folder.glob(".mesh-backup-*")) == []
    before = file.read_bytes()
    again = alice.run("backup", "b", text=SECRET)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    assert file.read_bytes() == before
    assert "team" in ran(bob, "backup", "check", "b")
    assert bob.run("backup", "check", "b", text="another one\n").returncode == 65
    device = alice.json("status")["device"]
    alice.kill()
    bob.json("send", "alice", "are you there?", "--wait", "accepted")
    assert "you are alice in it again" in ran(new, "restore", "b", "--same-device")
    assert new.json("status")["device"] == device
    wait_until(lambda: new.texts() == ["are you there?"])
    assert new.json("send", "bob", "I am", "--wait", "stored")["state"] == "stored"
    wait_until(lambda: link(alice) == "refused")
    assert "another daemon uses this machine's key" in alice.json("status")["meshes"][0]["trouble"]
    assert link(new) == "online"


def test_with_every_machine_lost_the_recovery_key_lets_a_new_one_in(team: tuple[Home, Home, Home]) -> None:
    alice, bob, new = team
    ran(alice, "backup", "b", "--recovery")
    alice.kill()
    assert "mesh device restore alice" in ran(new, "restore", "b")
    code = new.run("restore", "b", "--json", text=SECRET).stdout.split('"code": "')[1].split('"')[0]
    refused = bob.run("device", "restore", "alice", code)
    assert (refused.returncode, "still has 1 machine in" in refused.stderr) == (77, True)
    new.kill()
    assert "taken out, as lost: alice" in ran(new, "restore", "b", "--lost")
    wait_until(lambda: link(new) == "online")
    wait_until(lambda: bob.run("send", "alice", "a secret").returncode == 77)
    assert new.json("send", "bob", "it is me", "--wait", "stored")["state"] == "stored"
    wait_until(lambda: link(alice) == "refused")


def test_a_passphrase_is_asked_for_after_a_kill_and_given_by_descriptor_or_credential(
    team: tuple[Home, Home, Home], tmp_path: Path
) -> None:
    alice, _, _ = team
    device = alice.json("status")["device"]
    assert "file, passphrase" in ran(alice, "keys", "protect")
    alice.kill()
    assert alice.json("status")["state"] == "locked"
    assert alice.run("unlock", text="a wrong one\n").returncode == 78
    assert alice.run("list").returncode == 75
    ran(alice, "unlock")
    assert alice.json("status")["device"] == device
    ran(alice, "down")
    (tmp_path / "meshd-passphrase").write_text(SECRET)
    reading, writing = os.pipe()
    os.write(writing, SECRET.encode())
    os.close(writing)
    for options, more in (
        (["--passphrase-fd", str(reading)], {}),
        ([], {"CREDENTIALS_DIRECTORY": str(tmp_path)}),
    ):
        command = [sys.executable, "-m", "meshd", "run", *options]
        with subprocess.Popen(
            command,
            env={**alice.environ, **more},
            pass_fds=[reading] if options else [],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as daemon:
            assert daemon.stdout is not None
            assert daemon.stdout.readline() == "meshd ready\n"
            told = alice.json("--no-start", "status")
            assert (told["state"], told["device"]) == ("ready", device)
            daemon.terminate()
    os.close(reading)
