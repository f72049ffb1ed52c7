"""Opening the keys of a daemon that started while they were locked."""

from mesh_protocol.ops.keys import KeysAnswer, Unlock
from meshd.local.dispatch import Call, handles


@handles(Unlock)
async def unlock(call: Call, request: Unlock) -> KeysAnswer:
    app = call.app
    if app.locked:
        await app.unlock(request.passphrase.encode() or None)
    return KeysAnswer(state="locked" if app.locked else "ready", keys=app.key_sentence())
