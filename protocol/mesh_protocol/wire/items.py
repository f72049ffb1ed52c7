"""Lists of byte strings in a frame's body, and texts that travel there because a header holds 64 KiB at most.

Format: u64le(count), then for each item u64le(length) and its bytes; nothing may follow.
"""

from collections.abc import Sequence

from mesh_protocol.wire.codec import CodecError, JsonValue

MAX_ITEMS = 4096


def pack_items(items: Sequence[bytes]) -> bytes:
    """The bytes of a list."""
    parts = [len(items).to_bytes(8, "little")]
    for item in items:
        parts.append(len(item).to_bytes(8, "little"))
        parts.append(item)
    return b"".join(parts)


def unpack_items(data: bytes, *, max_items: int = MAX_ITEMS) -> list[bytes]:
    """The list in `data`, which must be exactly one. Raises `CodecError`."""
    if len(data) < 8:
        raise CodecError("items: cut off")
    count = int.from_bytes(data[:8], "little")
    if count > max_items:
        raise CodecError(f"items: more than {max_items}")
    position = 8
    items: list[bytes] = []
    for _ in range(count):
        end = position + 8
        if end > len(data):
            raise CodecError("items: cut off")
        start, end = end, end + int.from_bytes(data[position:end], "little")
        if end > len(data):
            raise CodecError("items: cut off")
        items.append(data[start:end])
        position = end
    if position != len(data):
        raise CodecError("items: bytes after the list")
    return items


def take_texts(answer: dict[str, JsonValue], path: str) -> bytes:
    """Move the texts at `path` (``field`` or ``rows[].field``) out of `answer`, leaving empty ones; returns the body."""
    holders = _holders(answer, path)
    field = path.rpartition("].")[2]
    texts: list[bytes] = []
    for holder in holders:
        text = holder[field]
        texts.append(text.encode() if isinstance(text, str) else b"")
        holder[field] = ""
    return pack_items(texts)


def put_texts(answer: dict[str, JsonValue], path: str, body: bytes) -> None:
    """The reverse of `take_texts`, in place. Raises `CodecError` when body and answer do not belong together."""
    holders = _holders(answer, path)
    field = path.rpartition("].")[2]
    texts = unpack_items(body)
    if len(texts) != len(holders):
        raise CodecError("items: not one text a row")
    for holder, text in zip(holders, texts, strict=True):
        holder[field] = text.decode("utf-8", "replace")


def _holders(answer: dict[str, JsonValue], path: str) -> list[dict[str, JsonValue]]:
    rows, inside, _ = path.partition("[].")
    if not inside:
        return [answer]
    found = answer.get(rows)
    if not isinstance(found, list):
        raise CodecError(f"items: no rows {rows}")
    return [row for row in found if isinstance(row, dict)]
