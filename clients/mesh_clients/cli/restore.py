"""`mesh restore FILE`, and `mesh device restore`, with which another machine lets the restored one in."""

from mesh_clients.cli import parcel
from mesh_clients.cli.down import stop_daemon
from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.secrets import Passphrases, read_secret
from mesh_clients.exits import finish
from mesh_clients.render import say, show_value, word
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue


def run(called: Invocation) -> int:
    if called.verb.name == "device restore":
        return let_in(called)
    params = called.params
    if params.get("same_device") and params.get("lost"):
        raise MeshError("bad_request", what="--same-device needs no --lost: the machine of the file is the lost one")
    path = str(params.pop("file"))
    passphrases = Passphrases(params.pop("passphrase_fd", None))
    called.call({}, method="keys.status")  # before anybody types a passphrase for a daemon that is not there
    data = parcel.read(path)
    secret = passphrases.ask("passphrase of the backup")
    params = {**params, "parcel": parcel.bring(called, data), "passphrase": secret}
    answer = called.call(params, wait=parcel.STRETCH_S)
    if answer.get("restart") is True:
        stop_daemon(called)
        called.line.start = True
        called.call({}, method="daemon.status")  # starts it as that machine
    if not called.as_json:
        tell(answer)
    return finish(answer, as_json=called.as_json)


def tell(answer: "dict[str, JsonValue]") -> None:
    rows = answer.get("meshes")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            tell_mesh(row)
    if answer.get("restart") is True:
        say("This machine is the one of the backup now; the broker refuses the other from its next hello on.")
        say(
            "Lost are messages that were queued there or not read; what others send to its old keys they send once more."
        )


def tell_mesh(row: "dict[str, JsonValue]") -> None:
    mesh, me = word(row, "mesh"), word(row, "me")
    match row.get("state"):
        case "restored":
            say(f"{mesh}: you are {me} in it again")
            if row.get("revoked"):
                say(f"  taken out, as lost: {show_value('revoked', row.get('revoked'))}")
        case "here":
            say(f"{mesh}: this machine is in it already")
        case _:
            say(f"{mesh}: its history is here; this machine still has to be let in{why(row)}.")
            ask = word(row, "ask")
            others = "" if ask == "nobody else" else f", or where you have none left {ask} on theirs,"
            say(f"  On another machine of yours{others} run this; it is let in within half a minute of it:")
            say(f"  mesh device restore {me} {word(row, 'code')}")


def why(row: "dict[str, JsonValue]") -> str:
    text = word(row, "why")
    return f" (not by the recovery key: {text})" if text else ""


def let_in(called: Invocation) -> int:
    if called.params.get("code") == "-":
        called.params["code"] = read_secret("the code of the restored machine")
    answer = called.call(called.params)
    if not called.as_json:
        say(f"{word(answer, 'member')} is in {word(answer, 'mesh')} with the machine {word(answer, 'device')[:16]}")
        if answer.get("unsealed"):
            say(f"Not given the new key yet, they ask for it: {show_value('unsealed', answer.get('unsealed'))}")
    return finish(answer, as_json=called.as_json)
