"""The API proxy, where it is used: whether it listens, and whether it records all that passes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mesh_protocol.ops.daemon import Check

if TYPE_CHECKING:
    from meshd.app import App


def check_proxy(app: "App") -> Iterator[Check]:
    """Nothing for a daemon whose proxy was never on."""
    if not app.proxy.used:
        return
    service = app.proxy.service()
    if not service.settings.on:
        return
    counts = service.recorder.counts
    if service.trouble:
        fix = "end the program that uses the port, or mesh proxy on --port N and start Claude Code anew"
        yield Check(name="proxy", ok="bad", text=f"it does not listen: {service.trouble}", fix=fix)
    elif counts.lost:
        text = f"{counts.lost} of {counts.requests} requests passed unrecorded: {counts.trouble}"
        fix = "mend that; what Claude Code said meanwhile is counted from its transcripts by mesh usage import"
        yield Check(name="proxy", ok="warn", text=text, fix=fix)
    else:
        text = f"port {service.settings.port}, {counts.requests} requests since the start, all recorded"
        yield Check(name="proxy", ok="ok", text=text, fix="")
    asks = app.proxy.asks()
    if asks:
        text = f"{len(asks)} {'waits' if len(asks) == 1 else 'wait'} for you because a budget is used up"
        yield Check(
            name="budget", ok="warn", text=text, fix=f"mesh budget, then mesh budget allow {asks[0].over.budget.id}"
        )
    if service.prices.trouble:
        fix = "mend it (docs/proxy.md); until then the prices from before it was changed are used"
        yield Check(name="prices", ok="warn", text=service.prices.trouble, fix=fix)
