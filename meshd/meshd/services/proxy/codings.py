"""Reading a copy of a compressed body, for the account alone; what passes through the proxy stays compressed.

gzip and deflate are the standard library's. Brotli and zstd are read where a library for them is installed; a copy that
cannot be read counts as unaccounted and is marked so.
"""

import importlib
import zlib
from collections.abc import Callable
from typing import Final, Protocol, cast

MAX_DECODED: Final = 64 * 1024 * 1024
"""Bytes of one copy after decompression: a small body can pretend to be an endless one."""
STEP: Final = 256 * 1024
PIECE: Final = 512
"""Bytes that a library without a bound of its own is given at once: few can become very many."""


class Unreadable(Exception):
    """The copy cannot be decompressed: unknown coding, broken, or too large."""


class Decoder(Protocol):
    """Decompresses pieces in their order."""

    def feed(self, data: bytes) -> bytes:
        """What `data` yields. Raises `Unreadable`."""


class Identity:
    """Not compressed."""

    def feed(self, data: bytes) -> bytes:
        return data


class Zlib:
    """gzip (several members too) and deflate, with or without zlib's header."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._inner = zlib.decompressobj(31 if gzip else 15)
        self._fresh = True
        self._total = 0

    def feed(self, data: bytes) -> bytes:
        out: list[bytes] = []
        while data:
            if self._inner.eof:
                if not self._gzip:
                    break
                self._inner = zlib.decompressobj(31)
            try:
                piece = self._inner.decompress(data, STEP)
            except zlib.error:
                if self._gzip or not self._fresh:
                    raise Unreadable("broken") from None
                self._inner = zlib.decompressobj(-15)  # RFC 9110, 8.4.1.2: some leave zlib's header out
                self._fresh = False
                continue
            self._fresh = False
            out.append(piece)
            self._total = _counted(self._total + len(piece))
            data = self._inner.unconsumed_tail or self._inner.unused_data
        return b"".join(out)


class Library:
    """A coding of an installed library. `step` decompresses one piece."""

    def __init__(self, step: Callable[[bytes], bytes]) -> None:
        self._step = step
        self._total = 0

    def feed(self, data: bytes) -> bytes:
        out = bytearray()
        for start in range(0, len(data), PIECE):
            try:
                out += self._step(data[start : start + PIECE])
            except Exception:  # noqa: BLE001 - each library has errors of its own
                raise Unreadable("broken") from None
            _counted(self._total + len(out))
        self._total += len(out)
        return bytes(out)


def _counted(total: int) -> int:
    if total > MAX_DECODED:
        raise Unreadable("too large")
    return total


def _brotli() -> Decoder:
    made = importlib.import_module("brotli").Decompressor()
    return Library(cast("Callable[[bytes], bytes]", made.process))


def _zstd() -> Decoder:
    try:
        made = importlib.import_module("compression.zstd").ZstdDecompressor()  # from Python 3.14 on
    except ImportError:
        made = importlib.import_module("zstandard").ZstdDecompressor().decompressobj()
    return Library(cast("Callable[[bytes], bytes]", made.decompress))


_MAKERS: Final[dict[str, Callable[[], Decoder]]] = {
    "": Identity,
    "identity": Identity,
    "gzip": lambda: Zlib(gzip=True),
    "x-gzip": lambda: Zlib(gzip=True),
    "deflate": lambda: Zlib(gzip=False),
    "br": _brotli,
    "zstd": _zstd,
}


def open_decoder(coding: str) -> Decoder:
    """The decoder of a Content-Encoding. Raises `Unreadable` for one that is not known or not installed."""
    try:
        return _MAKERS[coding.strip().lower()]()
    except (KeyError, ImportError):
        raise Unreadable(f"no decoder for {coding.strip()[:20]!r}") from None


def readable_codings() -> list[str]:
    """The codings whose copies can be read here."""
    found = []
    for name in ("gzip", "deflate", "br", "zstd"):
        try:
            open_decoder(name)
        except Unreadable:
            continue
        found.append(name)
    return found
