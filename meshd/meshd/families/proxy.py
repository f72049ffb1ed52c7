"""Switching the API proxy, and telling how it is."""

from mesh_protocol.ops.proxy import (
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

NOTES = (
    "Claude Code switches Remote Control off while its base URL is not Anthropic's own.",
    "Sessions that run already go on without the proxy; it is for those that are started with the URL.",
)


@handles(TurnOn)
async def turn_on(call: Call, request: TurnOn) -> ProxyOnAnswer:
    service = call.app.proxy.service()
    settings = await service.turn_on(request.upstream, request.port, new_token=request.new_token)
    return ProxyOnAnswer(state="on", url=service.url, upstream=settings.upstream, port=settings.port, notes=list(NOTES))


@handles(TurnOff)
async def turn_off(call: Call, request: TurnOff) -> ProxyOffAnswer:
    if not call.app.proxy.used:
        return ProxyOffAnswer(state="off", connections=0)
    service = call.app.proxy.service()
    if service.settings.on:
        await service.turn_off()
    return ProxyOffAnswer(state="off", connections=service.connections)


@handles(GetProxyStatus)
async def get_proxy_status(call: Call, request: GetProxyStatus) -> ProxyStatusAnswer:
    if not call.app.proxy.used:
        return ProxyStatusAnswer(
            state="off",
            trouble="",
            upstream="",
            port=0,
            connections=0,
            requests=0,
            recorded=0,
            lost=0,
            codings=[],
        )
    service = call.app.proxy.service()
    from meshd.services.proxy.codings import readable_codings  # with the service, only where it is used

    counts, settings = service.recorder.counts, service.settings
    state = "off" if not settings.on else "failed" if service.trouble else "on"
    return ProxyStatusAnswer(
        state=state,
        trouble="; ".join(filter(None, (service.trouble, counts.trouble, service.prices.trouble))),
        upstream=settings.upstream,
        port=settings.port,
        connections=service.connections,
        requests=counts.requests,
        recorded=counts.recorded,
        lost=counts.lost,
        codings=readable_codings(),
    )


@handles(GetProxyEnv)
async def get_proxy_env(call: Call, request: GetProxyEnv) -> ProxyEnvAnswer:
    if not call.app.proxy.used or not call.app.proxy.service().settings.on:
        raise MeshError("service_off", service="proxy")
    url = call.app.proxy.service().url
    return ProxyEnvAnswer(url=url, variables=[Variable(name="ANTHROPIC_BASE_URL", value=url)])
