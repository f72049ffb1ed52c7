"""The guard: switched on and off, opened for a connection, and the tokens of scripts."""

from mesh_protocol.ops.guard import (
    CreateToken,
    GuardState,
    ListTokens,
    NewToken,
    Opened,
    OpenGuard,
    RevokedToken,
    RevokeToken,
    ShowGuard,
    SwitchGuardOff,
    SwitchGuardOn,
    TokenRow,
    TokensAnswer,
)
from mesh_protocol.wire.errors import MeshError
from meshd.local.dispatch import Call, handles


def _state(call: Call) -> GuardState:
    guard = call.app.guard
    return GuardState(on=guard.on, since_ms=guard.since_ms, tokens=len(guard.tokens))


@handles(ShowGuard)
async def show_guard(call: Call, request: ShowGuard) -> GuardState:
    return _state(call)


@handles(SwitchGuardOn)
async def switch_guard_on(call: Call, request: SwitchGuardOn) -> GuardState:
    call.caller.gate.proof = await call.app.guard.switch_on(request.passphrase, call.caller.gate.proof)
    return _state(call)


@handles(SwitchGuardOff)
async def switch_guard_off(call: Call, request: SwitchGuardOff) -> GuardState:
    await call.app.guard.switch_off()
    return _state(call)


@handles(OpenGuard)
async def open_guard(call: Call, request: OpenGuard) -> Opened:
    guard = call.app.guard
    if bool(request.passphrase) is bool(request.token):
        raise MeshError("bad_request", what="guard.open takes a passphrase or a token")
    if request.token:
        proof = await guard.try_token(request.token)
    else:
        proof = await guard.try_passphrase(request.passphrase)
    call.caller.gate.proof = proof
    return Opened(token=proof.token)


@handles(CreateToken)
async def create_token(call: Call, request: CreateToken) -> NewToken:
    token, secret = await call.app.guard.create_token(request.name, request.days)
    return NewToken(id=token.id, name=token.name, token=secret, expires_ms=token.expires_ms)


@handles(ListTokens)
async def list_tokens(call: Call, request: ListTokens) -> TokensAnswer:
    return TokensAnswer(
        tokens=[
            TokenRow(id=each.id, name=each.name, made_ms=each.made_ms, expires_ms=each.expires_ms, used_ms=each.used_ms)
            for each in call.app.guard.tokens.values()
        ]
    )


@handles(RevokeToken)
async def revoke_token(call: Call, request: RevokeToken) -> RevokedToken:
    token = await call.app.guard.revoke_token(request.id)
    return RevokedToken(id=token.id, name=token.name)
