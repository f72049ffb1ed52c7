"""`mesh keys`: how the keys are kept, and the passphrase that protects them. It never stands in the arguments."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.secrets import Passphrases
from mesh_clients.exits import finish
from mesh_clients.render import clean_line, say, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

AFTER = {
    "keys protect": "From its next start on the daemon needs the passphrase: mesh unlock. Whoever forgets it has lost the keys.",
    "keys unprotect": "Whoever can read the files of this home has the keys.",
}


def run(called: Invocation) -> int:
    name = called.verb.name
    passphrases = Passphrases(called.params.pop("passphrase_fd", None))
    params = called.params
    if name != "keys status":
        status = called.call({}, method="keys.status")
        if status.get("state") == "ready":  # else the daemon refuses, and says what to do
            protected = status.get("backend") == "file" and status.get("protected") is True
            params = {**params, **ask(name, passphrases, protected=protected)}
    answer = called.call(params)
    if not called.as_json:
        say(word(answer, "keys"))
        notes = answer.get("notes")
        for note in notes if isinstance(notes, list) else ():
            say(f"  {clean_line(str(note))}")
        if name in AFTER:
            say(AFTER[name])
    return finish(answer, as_json=called.as_json)


def ask(name: str, passphrases: Passphrases, *, protected: bool) -> "dict[str, JsonValue]":
    """The passphrases that a change needs. Raises `MeshError`."""
    if name == "keys unprotect":
        return {"passphrase": passphrases.ask("passphrase of the keys") if protected else ""}
    old = {"old": passphrases.ask("passphrase of the keys now")} if protected else {}
    return {**old, "passphrase": passphrases.ask("new passphrase of the keys", twice=True)}
