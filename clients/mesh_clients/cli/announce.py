"""What `mesh send --file` says of a file. It is read here, by the person's own program; its bytes stay where they are."""

import hashlib
import os
import stat

from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

MAX_FILES = 16


def announce(paths: "JsonValue") -> "list[JsonValue]":
    """Name, size and digest of each file. Raises `MeshError`."""
    listed = [str(path) for path in paths] if isinstance(paths, list) else []
    if len(listed) > MAX_FILES:
        raise MeshError("bad_request", what=f"a message announces at most {MAX_FILES} files")
    return [_describe(path) for path in listed]


def _describe(path: str) -> "dict[str, JsonValue]":
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise MeshError("bad_request", what=f"{path} is not a file")
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise MeshError("bad_request", what=f"{path}: {error.strerror}") from None
    return {"name": os.path.basename(path), "size": size, "sha256": digest}
