"""What the relay must know of a JSON-RPC line, read from its bytes: `json` alone would cost half a start of Python."""

HOLD = 18
"""Digits of a numeric id."""


class Facts:
    """Of one line, as raw JSON, empty for what is missing: `id`, `method` without its quotes, and `target`, the
    `requestId` that a cancellation names."""

    __slots__ = ("id", "method", "target")

    def __init__(self, request_id: bytes, method: bytes, target: bytes) -> None:
        self.id = request_id
        self.method = method
        self.target = target


def read_facts(line: bytes) -> Facts:
    """The facts of `line`. What is not JSON gives facts that need not be right; nothing is raised."""
    # Escapes are blanked, keeping their length; then every second piece between quotation marks is a string.
    pieces = line.replace(b"\\\\", b"__").replace(b'\\"', b"__").split(b'"')
    request_id = method = target = top = b""
    depth = position = 0
    for number in range(1, len(pieces) - 1, 2):
        outside = pieces[number - 1]
        depth += outside.count(b"{") + outside.count(b"[") - outside.count(b"}") - outside.count(b"]")
        position += len(outside) + 1
        if depth <= 2:
            after = pieces[number + 1].lstrip()
            if after[:1] == b":":
                key = pieces[number]
                if depth == 1:
                    top = key
                    if key == b"id":
                        request_id = read_value(line, pieces, number, position)
                    elif key == b"method":
                        method = read_value(line, pieces, number, position).strip(b'"')
                elif key == b"requestId" and top == b"params":
                    target = read_value(line, pieces, number, position)
        position += len(pieces[number]) + 1
    return Facts(request_id, method, target)


def read_value(line: bytes, pieces: list[bytes], number: int, position: int) -> bytes:
    """The raw string or number that follows the key in piece `number`, which begins at `position` of the line."""
    after = pieces[number + 1].lstrip()[1:].lstrip()
    if after:
        return after.partition(b",")[0].partition(b"}")[0].strip()
    if number + 2 >= len(pieces):
        return b""
    start = position + len(pieces[number]) + 1 + len(pieces[number + 1])
    return line[start : start + len(pieces[number + 2]) + 2]


def is_plain_id(request_id: bytes) -> bool:
    """Whether the daemon's answer will carry the same bytes: an integer, or a string without escapes."""
    if request_id[:1] == b'"':
        return len(request_id) <= 202 and request_id[-1:] == b'"' and len(request_id) > 1 and b"\\" not in request_id
    digits = request_id[1:] if request_id[:1] == b"-" else request_id
    return digits.isdigit() and len(digits) <= HOLD and (digits == request_id == b"0" or digits[:1] != b"0")


def refuse(request_id: bytes, code: int, message: bytes) -> bytes:
    """An error answer. `request_id` is raw JSON, empty where there is none; `message` needs no escapes."""
    return b'{"jsonrpc":"2.0","id":%b,"error":{"code":%d,"message":"%b"}}' % (request_id or b"null", code, message)
