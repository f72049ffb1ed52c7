"""Words and secrets that must not be where they do not belong, and the search for them in every likely form."""

import base64
from collections.abc import Iterator
from pathlib import Path


def forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """`secret` as it may lie in a file or on a wire."""
    yield "plain", secret
    yield "hex", secret.hex().encode()
    yield "HEX", secret.hex().upper().encode()
    yield "reversed", secret[::-1]
    for shift in range(3):  # where it begins in a group of three bytes decides how it looks
        coded = base64.b64encode(bytes(shift) + secret)
        inner = coded[4 if shift else 0 : -4]
        yield f"base64+{shift}", inner
        yield f"base64url+{shift}", inner.replace(b"+", b"-").replace(b"/", b"_")
    try:
        text = secret.decode("ascii")
    except UnicodeDecodeError:
        return
    yield "UTF-16", text.encode("utf-16-le")
    yield "lower", text.lower().encode()
    yield "upper", text.upper().encode()


def find(place: str, data: bytes, canaries: dict[str, bytes]) -> list[str]:
    """Where a canary sings: one line each."""
    return [
        f"{name} ({form}) in {place}"
        for name, secret in canaries.items()
        for form, needle in forms(secret)
        if len(needle) >= 8 and needle in data
    ]


def files_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every regular file below `folder` with its bytes."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path), path.read_bytes()
