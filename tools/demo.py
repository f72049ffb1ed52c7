"""`make demo`: two machines and a broker, all on this computer, exchange messages; each step and receipt in plain words.

Every step runs the commands a person would run and checks what came of it; the demo ends with status 1 at the first
thing that is not so. Needs no network. Everything it makes lies in one private folder, which is removed at the end.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

BIN: Final = Path(sys.executable).parent
PATIENCE: Final = 20.0
"""Seconds that any one step may take; all of them together take about five."""
POLL: Final = 0.05
KEPT: Final = ("PATH", "LANG", "LC_ALL", "TZ", "TERM", "NO_COLOR", "TMPDIR")
MESH: Final = "heron-team"
QUESTION: Final = "Is the build green? Branch heron-17."
ANSWER: Final = "Green since noon: 412 tests."
LATER: Final = "I shipped it while you were away."


class DemoFailed(Exception):
    """A step did not do what it should; the text says which."""


class Receipt(NamedTuple):
    """How far a message got: state, and when it got to each stage (Unix epoch, milliseconds; 0: not yet)."""

    state: str
    queued_ms: int
    accepted_ms: int
    stored_ms: int
    shown_ms: int


@dataclass(frozen=True, slots=True)
class Machine:
    """One person's machine: a home folder of its own, in which only `mesh` is used."""

    name: str
    home: Path

    def run(self, *words: str, stdin: str = "", shown: str = "") -> str:
        """Run `mesh WORDS…`, show command (`shown`, where it differs) and output; its standard output."""
        print(f"\n    {self.name}$ {shown or shlex.join(['mesh', *words])}", flush=True)
        output = self.ask(*words, stdin=stdin)
        for line in output.rstrip("\n").split("\n"):
            print(f"      {line}", flush=True)
        return output

    def ask(self, *words: str, stdin: str = "") -> str:
        """Run `mesh WORDS…` without showing it."""
        done = subprocess.run(
            [BIN / "mesh", *words],
            env=environment(self.home),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            raise DemoFailed(f"{self.name}: mesh {words[0]} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def wait_online(self, people: int) -> None:
        """Wait until this machine has heard of so many people."""
        deadline = time.monotonic() + PATIENCE
        while sum(row["online"] for row in json.loads(self.ask("peers", "--json"))["peers"]) < people:
            if time.monotonic() > deadline:
                raise DemoFailed(f"{self.name} does not see {people} people online")
            time.sleep(POLL)

    def receipt(self, message: str, wanted: str) -> Receipt:
        """The message's progress once its state is `wanted`, as the sender's daemon knows it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            row = json.loads(self.ask("message", message, "--json"))["recipients"][0]
            if row["state"] == wanted:
                return Receipt(*(row[field] for field in Receipt._fields))
            if time.monotonic() > deadline:
                raise DemoFailed(f"{self.name}: message {message} is {row['state']}, not {wanted}")
            time.sleep(POLL)


def main() -> int:
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="meshd-demo-") as folder:
            play(Path(folder))
    except (DemoFailed, subprocess.TimeoutExpired) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    print(f"\nAll processes are stopped and all files removed. That took {time.monotonic() - began:.1f} s.")
    return 0


def play(folder: Path) -> None:
    """The whole story."""
    alice, bob = (Machine(name, folder / name) for name in ("alice", "bob"))
    with broker(folder / "broker") as url, daemons(alice, bob):
        make_a_mesh(alice, bob, url)
        exchange(alice, bob)
        while_away(alice, bob)
        look_at_the_broker(folder / "broker", bob)


def make_a_mesh(alice: Machine, bob: Machine, url: str) -> None:
    say("1. Alice makes a mesh at that broker, and a link that lets one more machine in.")
    alice.run("new", MESH, "--name", "alice", "--broker", url)
    link = json.loads(alice.ask("invite", "--json"))["url"]
    print(f"\n    alice$ mesh invite\n      {link}")
    say("2. Bob joins by that link. Alice's machine checks it and hands Bob's machine the keys; the broker sees none.")
    joined = bob.run(
        "join", "-", "--name", "bob", stdin=link + "\n", shown="mesh join - --name bob   # pastes the link"
    )
    require("Joined" in joined, "bob was not let in")
    bob.wait_online(2)
    bob.run("peers")


def exchange(alice: Machine, bob: Machine) -> None:
    say("3. Alice asks Bob something, and waits until it lies safely on his machine.")
    question = send(alice, "bob", QUESTION, "--wait", "stored")
    receipt = alice.receipt(question, "stored")
    tell(receipt, "the broker has it on disk (its word, unsigned)", "Bob's machine has it on disk, and signed that")
    say("   Bob has not seen it yet, and nobody claims so. He reads:")
    require(QUESTION in bob.run("inbox"), "bob's inbox does not show the question")
    receipt = alice.receipt(question, "shown")
    print(
        f"\n   shown     after {receipt.shown_ms - receipt.queued_ms} ms: it was printed on Bob's screen; signed as well."
    )

    say("4. Bob answers. Alice was waiting.")
    answer = send(bob, "alice", ANSWER, "--reply-to", question)
    require(ANSWER in alice.run("inbox", "--wait", "10"), "alice's inbox does not show the answer")
    bob.receipt(answer, "shown")
    print("\n   Bob's machine knows that too: shown.")


def while_away(alice: Machine, bob: Machine) -> None:
    say("5. Bob switches his machine off. Alice writes nevertheless.")
    bob.run("down")
    late = send(alice, "bob", LATER, "--wait", "accepted")
    receipt = alice.receipt(late, "accepted")
    require(receipt.stored_ms == 0, "a machine that is off stored a message")
    say("   accepted, and no more: the broker keeps it, Bob's machine does not have it. That is what Alice is told.")

    say("6. Bob comes back. Nobody does anything about the message.")
    bob.run("up")
    receipt = alice.receipt(late, "stored")
    print(
        f"\n   stored    after {(receipt.stored_ms - receipt.queued_ms) / 1000:.1f} s: Bob's machine fetched it and signed for it."
    )
    require(LATER in bob.run("inbox"), "bob's inbox does not show what came while he was away")
    alice.receipt(late, "shown")
    alice.run("message", late)


def look_at_the_broker(data: Path, bob: Machine) -> None:
    say(
        "7. What does the broker have of all this? Its files, searched for the three texts, for Alice and the mesh's name:"
    )
    content = b"".join(path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file())
    for word in (QUESTION, ANSWER, LATER, "alice", MESH):  # not bob: three letters occur in any ciphertext
        require(word.encode() not in content, f"the broker's files hold {word!r}")
    print(f"   {len(content):,} bytes, and none of them found. It knows which keys write to which, when, and how much.")
    require(json.loads(bob.ask("inbox", "--json"))["messages"] == [], "something came twice")


def send(sender: Machine, to: str, text: str, *more: str) -> str:
    """Send, and return the message's id (its beginning)."""
    message, space, _ = sender.run("send", to, text, *more).partition(" ")
    require(bool(space), "mesh send named no message")
    return message


def tell(receipt: Receipt, accepted: str, stored: str) -> None:
    """The stages of a receipt, each with the time since the sending."""
    print(f"\n   accepted  after {receipt.accepted_ms - receipt.queued_ms} ms: {accepted}.")
    print(f"   stored    after {receipt.stored_ms - receipt.queued_ms} ms: {stored}.")


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


def require(fact: bool, otherwise: str) -> None:
    if not fact:
        raise DemoFailed(otherwise)


@contextmanager
def broker(data: Path) -> Iterator[str]:
    """A broker on a free port of this machine; its URL."""
    say("0. A broker starts. It will order and keep what the machines send each other, and can read none of it.")
    print("\n    $ mesh-broker run --listen 127.0.0.1:0 --data broker")
    with open(data.parent / "broker.log", "wb") as log:  # noqa: SIM117 - the log outlives the process
        with subprocess.Popen(
            [BIN / "mesh-broker", "run", "--listen", "127.0.0.1:0", "--data", str(data)],
            env=environment(data),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process:
            try:
                line = process.stdout.readline() if process.stdout is not None else ""
                require("ready on " in line, f"the broker did not start: {Path(log.name).read_text().strip()}")
                print(f"      {line.rstrip()}")
                yield line.rpartition(" ")[2].strip()
            finally:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()


@contextmanager
def daemons(*machines: Machine) -> Iterator[None]:
    """The daemons of both machines. `mesh` starts one by itself where none runs; here it is told to, to be seen."""
    for machine in machines:
        machine.home.mkdir(mode=0o700)
    try:
        for machine in machines:
            machine.run("up")
        yield
    finally:
        for machine in machines:
            try:
                machine.ask("down", "--no-start")
            except (DemoFailed, subprocess.TimeoutExpired):
                continue  # it is down already, which step 5 may have left so


def environment(home: Path) -> Mapping[str, str]:
    """A machine of its own: nothing of this one's sessions or settings."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "HOME": str(home), "MESH_HOME": str(home / "mesh")}


if __name__ == "__main__":
    sys.exit(main())
