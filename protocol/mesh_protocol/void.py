"""Numbers of a sender's stream that no message will come under: the content of a `void` message.

```
void = lst(u64(number) ..)
```

A message that was cancelled or expired before the broker took it leaves a gap in the numbers that its recipient counts.
The void says that the gap is no loss, so that a broker which holds messages back cannot hide behind cancelled ones. It
carries no signature of its own: the message's signature covers kind and content.
"""

from collections.abc import Sequence

from mesh_protocol.pae import MAX_INT, BadEncoding, lst, read_u64, require_number, u64, unlst

MAX_NUMBERS = 1_024
"""Numbers of one void: 16 KiB of content."""


def encode_void(numbers: Sequence[int]) -> bytes:
    """The content of a `void` message: 1 to 1,024 rising numbers. Raises BadEncoding for any others."""
    _check(numbers)
    return lst(*(u64(number) for number in numbers))


def decode_void(content: bytes) -> tuple[int, ...]:
    """The numbers, rising. Raises BadEncoding."""
    numbers = tuple(read_u64(item) for item in unlst(content, max_items=MAX_NUMBERS))
    _check(numbers)
    return numbers


def _check(numbers: Sequence[int]) -> None:
    require_number(len(numbers), 1, MAX_NUMBERS, "the count of numbers in a void")
    before = 0
    for number in numbers:
        require_number(number, 1, MAX_INT, "a number of a void")
        if number <= before:
            raise BadEncoding("the numbers of a void do not rise")
        before = number
