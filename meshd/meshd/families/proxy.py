"""Switching the API proxy, and telling how it is."""

from typing import TYPE_CHECKING

from mesh_protocol.ops.proxy import (
    Forget,
    ForgetAnswer,
    GetProxyEnv,
    GetProxyStatus,
    ProxyEnvAnswer,
    ProxyOffAnswer,
    ProxyOnAnswer,
    ProxyStatusAnswer,
    TurnOff,
    TurnOn,
    Variable,
)
from mesh_protocol.wire.errors import MeshError
from meshd.local.dispatch import Call, handles

if TYPE_CHECKING:
    from meshd.services.proxy.service import Service

DAY_MS = 86_400_000
NOTES = (
    "Claude Code switches Remote Control off while its base URL is not Anthropic's own. Where you need it, leave the URL as it"
    " is: mesh usage import --follow counts the same from the transcripts.",
    "Sessions that run already go on without the proxy; it is for those that are started with the URL.",
)


@handles(TurnOn)
async def turn_on(call: Call, request: TurnOn) -> ProxyOnAnswer:
    service = call.app.proxy.service()
    settings = await service.turn_on(request.upstream, request.port, new_token=request.new_token, via=request.via)
    await service.keep(request.store, request.keep_days, request.keep_mib, request.history_days)
    return ProxyOnAnswer(
        state="on",
        url=service.url,
        upstream=settings.upstream,
        port=settings.port,
        notes=[*NOTES, *_stored_notes(service)],
    )


@handles(TurnOff)
async def turn_off(call: Call, request: TurnOff) -> ProxyOffAnswer:
    if not call.app.proxy.used:
        return ProxyOffAnswer(state="off", connections=0, notes=[])
    service = call.app.proxy.service()
    if service.settings.on:
        await service.turn_off()
    return ProxyOffAnswer(state="off", connections=service.answering, notes=_stored_notes(service))


def _stored_notes(service: "Service") -> list[str]:
    """What is stored of what was said, and what becomes of it."""
    settings, bodies = service.settings, service.bodies
    notes = []
    if settings.on and settings.bodies:
        notes.append(
            "What requests and answers say is stored here from now on, encrypted under the store key, for"
            f" {settings.keep_days} days and up to {settings.keep_mib} MiB: mesh proxy on --store nothing ends that."
        )
    if bodies is not None and bodies.stored.requests and not (settings.on and settings.bodies):
        notes.append(
            f"The bodies of {bodies.stored.requests} requests stay stored, the last of them for {settings.keep_days} days:"
            " mesh proxy forget deletes them now."
        )
    return notes


@handles(Forget)
async def forget(call: Call, request: Forget) -> ForgetAnswer:
    if not call.app.proxy.used:
        return ForgetAnswer(bodies=0, requests=0)
    service = call.app.proxy.service()
    before_ms = call.app.node.now() - request.older * DAY_MS if request.older else None
    bodies = await service.bodies.forget(before_ms) if service.bodies is not None else 0
    requests = await service.forget(before_ms) if request.requests else 0
    return ForgetAnswer(bodies=bodies, requests=requests)


@handles(GetProxyStatus)
async def get_proxy_status(call: Call, request: GetProxyStatus) -> ProxyStatusAnswer:
    if not call.app.proxy.used:
        return ProxyStatusAnswer(
            state="off",
            trouble="",
            upstream="",
            via="",
            port=0,
            connections=0,
            requests=0,
            recorded=0,
            lost=0,
            codings=[],
            store="nothing",
            stored_requests=0,
            stored_bytes=0,
            unstored=0,
            keep_days=0,
            keep_mib=0,
            history_days=0,
        )
    service = call.app.proxy.service()
    from meshd.services.proxy.codings import readable_codings  # with the service, only where it is used

    counts, settings = service.recorder.counts, service.settings
    stored = service.bodies.stored if service.bodies is not None else None
    state = "off" if not settings.on else "failed" if service.trouble else "on"
    return ProxyStatusAnswer(
        state=state,
        trouble="; ".join(
            filter(
                None,
                (service.trouble, counts.trouble, service.prices.trouble, stored.trouble if stored is not None else ""),
            )
        ),
        upstream=settings.upstream,
        via=settings.via,
        port=settings.port,
        connections=service.connections,
        requests=counts.requests,
        recorded=counts.recorded,
        lost=counts.lost,
        codings=readable_codings(),
        store="bodies" if settings.bodies else "nothing",
        stored_requests=stored.requests if stored is not None else 0,
        stored_bytes=stored.size if stored is not None else 0,
        unstored=stored.lost if stored is not None else 0,
        keep_days=settings.keep_days,
        keep_mib=settings.keep_mib,
        history_days=settings.history_days,
    )


@handles(GetProxyEnv)
async def get_proxy_env(call: Call, request: GetProxyEnv) -> ProxyEnvAnswer:
    if not call.app.proxy.used or not call.app.proxy.service().settings.on:
        raise MeshError("service_off", service="proxy")
    url = call.app.proxy.service().url
    return ProxyEnvAnswer(url=url, variables=[Variable(name="ANTHROPIC_BASE_URL", value=url)])
