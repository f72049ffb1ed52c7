"""Two machines of one person, linked by the commands that he types; then one of them is lost."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from homes import MESH, Home, open_broker, open_home, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A broker's URL."""
    with open_broker(tmp_path) as url:
        yield url


def command(home: Home, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [MESH, *arguments, "--json"],
        env=home.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def next_step(program: "subprocess.Popen[str]") -> dict:
    assert program.stdout is not None
    return json.loads(program.stdout.readline())


def link(host: Home, guest: Home) -> str:
    """Link `guest` to what `host` is in; the new device."""
    with command(host, "device", "link") as offering, command(guest, "device", "join", "-") as joining:
        assert joining.stdin is not None
        joining.stdin.write(f"{next_step(offering)['url']}\n")
        joining.stdin.flush()
        words = next_step(joining)["words"]
        assert next_step(offering)["words"] == words
        out, errors = offering.communicate(f"{' '.join(words)}\n", timeout=60)
        assert offering.returncode == 0, errors
        done = json.loads(out)
        assert joining.wait(60) == 0
    assert done["state"] == "done"
    return str(done["device"])


def test_messages_reach_both_machines_and_a_lost_one_is_revoked_from_the_other(tmp_path: Path, broker: str) -> None:
    with (
        open_home(tmp_path, "laptop") as laptop,
        open_home(tmp_path, "phone") as phone,
        open_home(tmp_path, "bob") as bob,
    ):
        laptop.json("new", "team", "--name", "alice", "--broker", broker)
        bob.json("join", laptop.json("invite")["url"], "--name", "bob", "--wait", "20")
        device = link(laptop, phone)
        mine = [row for row in phone.json("device", "list")["devices"] if row["mine"]]
        assert [(row["device"] == device, row["here"], row["state"]) for row in mine] == [
            (False, False, "active"),
            (True, True, "active"),
        ]
        wait_until(lambda: len(bob.json("device", "list")["devices"]) == 3)
        bob.json("send", "alice", "to both", "--wait", "stored", "--timeout", "30")
        for home in (laptop, phone):
            wait_until(lambda home=home: home.texts() == ["to both"])  # type: ignore[misc]
        laptop.kill()  # lost
        gone = phone.json("device", "revoke", mine[0]["device"][:12], "--wait", "20")
        assert (gone["state"], gone["devices"], gone["confirmed"]) == ("revoked", 1, 1)
        bob.json("send", "alice", "only to the phone", "--wait", "stored", "--timeout", "30")
        assert phone.texts() == ["to both", "only to the phone"]
        wait_until(lambda: laptop.json("status")["meshes"][0]["link"] == "refused")
        assert laptop.texts() == ["to both"]
