"""`mesh token create`: the one time that a token is said, best into a file that only its owner can read."""

import os

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import say, show_value, word
from mesh_protocol.wire.errors import MeshError


def run(called: Invocation) -> int:
    params = called.params
    path = params.pop("file", "")
    if not isinstance(path, str) or not path:
        answer = called.call(params)
        if not called.as_json:
            say(word(answer, "token"))
        return finish(answer, as_json=called.as_json)
    descriptor = create(path)
    try:
        answer = called.call(params)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{word(answer, 'token')}\n")
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(path)
        raise
    told = {**{key: value for key, value in answer.items() if key != "token"}, "file": path}
    if not called.as_json:
        say(
            f"Token {word(answer, 'id')} is in {path}, good until {show_value('expires_ms', answer.get('expires_ms'))}."
        )
        say(f"A script that runs guarded commands sets MESH_TOKEN_FILE={path}")
    return finish(told, as_json=called.as_json)


def create(path: str) -> int:
    """A new file that only its owner can read. Raises `MeshError`, also where there is one."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MeshError("bad_request", what=f"{path} cannot be made: {error.strerror}") from None
