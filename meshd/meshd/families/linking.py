"""Linking another device of the same person."""

from mesh_protocol.ops.linking import ConfirmLink, EndLink, JoinLink, Offer, OpenLink, Step, WaitLink
from meshd.linking import ENTERING, WORDS, Attempt
from meshd.linking_guest import accept_link
from meshd.linking_host import ATTEMPT_MS, offer_link
from meshd.local.dispatch import Call, handles
from meshd.membership import active_mesh


@handles(OpenLink)
async def open_link(call: Call, request: OpenLink) -> Offer:
    from meshd.qr import draw_code

    mesh = active_mesh(call.app.node, request.mesh)
    link, attempt = await offer_link(call.app, mesh)
    url = link.url()
    expires = call.app.node.now() + ATTEMPT_MS
    return Offer(id=attempt.id, mesh=mesh.slug, url=url, qr=draw_code(url), expires_ms=expires)


@handles(JoinLink)
async def join_link(call: Call, request: JoinLink) -> Step:
    return _step(await accept_link(call.app, request.url))


@handles(WaitLink)
async def wait_link(call: Call, request: WaitLink) -> Step:
    attempt = call.app.linking.find(request.id)
    await call.app.linking.wait(attempt, request.seen, request.wait_s)
    return _step(attempt)


@handles(ConfirmLink)
async def confirm_link(call: Call, request: ConfirmLink) -> Step:
    linking = call.app.linking
    attempt = linking.find(request.id, "own")
    attempt.decide(same=request.same)
    for state in (WORDS, ENTERING):  # one after the other, and then the end
        await linking.wait(attempt, state, request.wait_s)
    return _step(attempt)


@handles(EndLink)
async def end_link(call: Call, request: EndLink) -> Step:
    attempt = call.app.linking.find(request.id)
    await call.app.linking.end(attempt, "it was given up here")
    return _step(attempt)


def _step(attempt: Attempt) -> Step:
    return Step(id=attempt.id, mesh=attempt.mesh, state=attempt.state, words=[*attempt.words], device=attempt.device)
