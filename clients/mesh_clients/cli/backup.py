"""`mesh backup FILE` and `mesh backup check FILE`: what is written is read back and verified before it counts."""

from mesh_clients.cli import parcel
from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.secrets import Passphrases
from mesh_clients.exits import finish
from mesh_clients.render import print_rows, say, show_value, word
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

COLUMNS = ("mesh", "me", "members", "records", "epochs", "recovery", "broker")


def run(called: Invocation) -> int:
    params = called.params
    path = str(params.pop("file"))
    passphrases = Passphrases(params.pop("passphrase_fd", None))
    called.call({}, method="keys.status")  # before anybody types a passphrase for a daemon that is not there
    if called.verb.name == "backup check":
        data = parcel.read(path)
        secret = passphrases.ask("passphrase of the backup")
        params = {**params, "parcel": parcel.bring(called, data), "passphrase": secret}
        answer = called.call(params, wait=parcel.STRETCH_S)
        if not called.as_json:
            show(answer)
        return finish(answer, as_json=called.as_json)
    return make(called, path, passphrases)


def make(called: Invocation, path: str, passphrases: Passphrases) -> int:
    params = called.params
    force, drop = params.pop("force", False) is True, params.pop("drop_recovery", False) is True
    if drop and params.get("recovery") is not True:
        raise MeshError(
            "bad_request", what="--drop-recovery goes with --recovery: what is not in the file is not removed"
        )
    parcel.require_new(path, force=force)
    secret = passphrases.ask("new passphrase of the backup", twice=True)
    made = called.call({**params, "passphrase": secret}, wait=parcel.STRETCH_S)
    size = made.get("size")
    parcel.write(path, parcel.fetch(called, word(made, "parcel"), size if isinstance(size, int) else -1), force=force)
    # What counts is what lies in the file.
    body: dict[str, JsonValue] = {"parcel": parcel.bring(called, parcel.read(path)), "drop_recovery": drop}
    checked, _ = called.exchange("backup.confirm", body, secret.encode(), wait=parcel.STRETCH_S)
    answer: dict[str, JsonValue] = {
        "file": path,
        **{name: made.get(name) for name in ("size", "meshes", "left_out", "recovery", "device_key")},
        "dropped": checked.get("dropped"),
    }
    if not called.as_json:
        tell(answer)
    return finish(answer, as_json=called.as_json)


def tell(answer: "dict[str, JsonValue]") -> None:
    def named(name: str) -> str:
        return show_value(name, answer.get(name))

    say(f"{named('file')} holds {named('meshes')}; it was read back and verified")
    if answer.get("left_out"):
        say(f"Not in it: {named('left_out')}. They live on this machine's own broker and end with this machine.")
    if answer.get("recovery"):
        say(f"It holds the recovery keys of {named('recovery')}: whoever opens it may change everything there.")
    if answer.get("dropped"):
        say(f"This machine no longer has those of {named('dropped')}.")
    if answer.get("device_key"):
        say("It holds this machine's own key: whoever opens it can be this machine. Never let both run.")
    say("Keep the file and its passphrase apart, away from this machine. mesh restore FILE brings you back.")


def show(answer: "dict[str, JsonValue]") -> None:
    say(f"made      {show_value('made_ms', answer.get('made_ms'))}")
    say(f"device    {word(answer, 'device')}{', with its key' if answer.get('device_key') else ''}")
    rows = answer.get("meshes")
    listed = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    if listed:
        say("")
        print_rows(listed, COLUMNS)
