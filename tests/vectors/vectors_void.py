"""Vectors of the numbers that a sender gives up."""

from mesh_protocol.pae import lst, u64
from mesh_protocol.void import MAX_NUMBERS, encode_void
from vectors_shown import MAX, Json


def make_void() -> Json:
    voids = {
        "one number": (7,),
        "several, with messages between them": (3, 4, 9),
        "the least and the greatest": (1, MAX),
        "as many as there may be": tuple(range(5, 5 + MAX_NUMBERS)),
    }
    good = encode_void((7, 8))
    refused = {
        "nothing": b"",
        "no number": lst(),
        "one byte cut": good[:-1],
        "one byte appended": good + b"\0",
        "number 0": lst(u64(0)),
        "a number twice": lst(u64(7), u64(7)),
        "falling numbers": lst(u64(8), u64(7)),
        "a number of seven bytes": lst(bytes(7)),
        "a number above 2**63 - 1": lst(b"\xff" * 8),
        "too many numbers": lst(*(u64(n) for n in range(1, MAX_NUMBERS + 2))),
    }
    return {
        "voids": [
            {"name": name, "numbers": list(numbers), "hex": encode_void(numbers).hex()}
            for name, numbers in voids.items()
        ],
        "refused": [{"why": why, "hex": data.hex()} for why, data in refused.items()],
    }
