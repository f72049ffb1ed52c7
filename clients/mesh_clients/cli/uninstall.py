"""`mesh uninstall`: takes out what `mesh install` put in, and puts back what was there."""

import os

from mesh_clients.cli.install import Place, ask
from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.install import changes, service, wish
from mesh_clients.render import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue


def run(called: Invocation) -> int:
    place = Place()
    planned = place.plan_uninstall()
    with_service = place.service.is_there
    needed = with_service or any(change.needed for change in planned)
    asks = needed and not called.params.get("yes")
    if asks:
        lines = [line for change in planned if change.needed for line in changes.show(change)]
        ask(called, [*lines, *([f"{place.service.path}\n  removed, and stopped"] if with_service else [])])
    if place.record.files or any(change.needed for change in planned):
        with place.record.held():
            planned = changes.renew(place.targets, planned, place.plan_uninstall(), shown=asks)
            for target, change in zip(place.targets, planned, strict=True):
                changes.uninstall(target, place.record, change)
            place.record.forget()
    said = service.remove_service(place.service) if with_service else ""
    if with_service:
        wish.decline(os.environ)
    files: list[JsonValue] = [{"path": change.path, "changed": change.needed} for change in planned]
    answer: dict[str, JsonValue] = {"changed": needed, "files": files, "notes": [said] if said else []}
    if not called.as_json:
        say("Uninstalled. Messages and keys stay." if needed else "Nothing is installed.")
        if said:
            say(f"Note: {said}")
    return finish(answer, as_json=called.as_json)
