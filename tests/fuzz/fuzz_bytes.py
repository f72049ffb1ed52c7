"""Hostile bytes for the fuzz targets: random, and frozen vectors altered; and the two things every parser must keep.

MESH_FUZZ_EXAMPLES sets the number of examples a target gets. The default run is the same every time; a larger one
draws anew each time and prints how to repeat what it found.
"""

import gc
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import mesh_protocol

USUAL = 100
EXAMPLES = int(os.environ.get("MESH_FUZZ_EXAMPLES", str(USUAL)))
SECONDS = 0.25
"""Of processor time, for one value of at most a frame's size; the slowest honest one takes a tenth."""

FUZZ = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= USUAL,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FEW = settings(FUZZ, max_examples=max(1, EXAMPLES // 5))
"""For targets of which there are many alike."""

VECTORS = Path(mesh_protocol.__file__).parent / "vectors"
_HEX = re.compile(r"(?:[0-9a-f]{2}){4,}")


def frozen(*names: str) -> list[bytes]:
    """Every byte string of four bytes or more in the vector files `names`, or in all, the shortest first."""
    found: set[bytes] = set()
    for path in sorted(VECTORS.glob("*.json")):
        if not names or path.stem in names:
            _collect(json.loads(path.read_text()), found)
    assert found, f"no vectors in {names}"
    return sorted(found, key=lambda data: (len(data), data))


def _collect(value: object, found: set[bytes]) -> None:
    match value:
        case dict():
            for each in value.values():
                _collect(each, found)
        case list():
            for each in value:
                _collect(each, found)
        case str() if _HEX.fullmatch(value):
            found.add(bytes.fromhex(value))


NUMBERS = st.sampled_from(
    [b"\x00", b"\x7f", b"\x80", b"\xff", b"\xff" * 4, b"\xff" * 8, b"\x00" * 8, b"\x01" + b"\x00" * 7]
)


@st.composite
def altered(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of `seeds` with up to four edits: a byte, a bit, a piece cut, repeated, put in, or taken from another seed."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        upto = min(len(data), at + draw(st.integers(0, 16)))
        match draw(st.integers(0, 6)):
            case 0 if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case 1 if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 2:
                del data[at:upto]
            case 3:
                data[at:at] = data[at:upto]
            case 4:
                number = draw(NUMBERS)
                data[at : at + len(number)] = number
            case 5:
                other = draw(st.sampled_from(seeds))
                data[at:upto] = other[at : at + 32]
            case _:
                del data[at:]
    return bytes(data)


def hostile(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Random bytes, a seed as it is, or altered."""
    return st.binary(max_size=300) | st.sampled_from(seeds) | altered(seeds)


def judge(parse: Callable[[bytes], object], data: bytes, declared: type[Exception]) -> object:
    """What `parse` makes of `data`; None for the declared refusal. Anything else it raises goes through."""
    gc.disable()  # a full collection of the fuzzer's own heap takes longer than what is measured
    started = time.process_time()
    try:
        return parse(data)
    except declared:
        return None
    finally:
        spent = time.process_time() - started
        gc.enable()
        assert spent < SECONDS, f"{spent:.2f} s for {len(data)} bytes: {data[:200].hex()}"
