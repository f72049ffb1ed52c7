"""Fields that several kinds of chain records have, and their limits (crypto design 2.4)."""

from collections.abc import Sequence
from itertools import pairwise

from mesh_protocol.ids import DEVICE_ID_SIZE, DeviceId
from mesh_protocol.pae import BadEncoding, read_text, require_text, text_bytes, unlst

MAX_SEALED_NAME = 512
"""Bytes of a sealed name: the 512 bytes of meta data of crypto design 2.4."""
MAX_BROKER_URLS = 8
MAX_BROKER_URL = 256

_FLAGS = {b"\x00": False, b"\x01": True}


def flag_bytes(flag: bool) -> bytes:
    """One byte, 0 or 1."""
    return b"\x01" if flag else b"\x00"


def read_flag(data: bytes) -> bool:
    """Raises BadEncoding for anything but one byte, 0 or 1."""
    if data not in _FLAGS:
        raise BadEncoding("a flag must be one byte, 0 or 1")
    return _FLAGS[data]


def require_sealed_name(sealed: bytes) -> None:
    """Raises BadEncoding unless a sealed name has 1 to 512 bytes."""
    if not 1 <= len(sealed) <= MAX_SEALED_NAME:
        raise BadEncoding(f"a sealed name must have 1 to {MAX_SEALED_NAME} bytes")


def require_broker_url(url: str) -> None:
    """Raises BadEncoding unless `url` is `local:` or a ws(s) URL in printable ASCII, at most 256 bytes.

    That `ws` is used on loopback only is the connecting daemon's check, who knows what is loopback.
    """
    if url == "local:":
        return
    require_text(url, 6, MAX_BROKER_URL, "a broker URL")
    if not url.startswith(("wss://", "ws://")) or not all("!" <= char <= "~" for char in url):
        raise BadEncoding("a broker URL must be local:, ws://... or wss://... in printable ASCII")


def require_broker_urls(urls: Sequence[str]) -> None:
    """Raises BadEncoding unless there are 1 to 8 broker URLs."""
    if not 1 <= len(urls) <= MAX_BROKER_URLS:
        raise BadEncoding(f"a mesh must name 1 to {MAX_BROKER_URLS} broker URLs")
    for url in urls:
        require_broker_url(url)


def pack_texts(texts: Sequence[str]) -> tuple[bytes, ...]:
    """Texts as the fields of a list."""
    return tuple(text_bytes(text) for text in texts)


def read_texts(data: bytes, max_items: int) -> tuple[str, ...]:
    """The texts of a list that fills `data`. Raises BadEncoding."""
    return tuple(read_text(item) for item in unlst(data, max_items=max_items))


def require_rising(devices: Sequence[DeviceId]) -> None:
    """Raises BadEncoding unless these are device ids in rising order, each once."""
    if any(len(device) != DEVICE_ID_SIZE for device in devices):
        raise BadEncoding(f"a device id must have {DEVICE_ID_SIZE} bytes")
    if any(first >= second for first, second in pairwise(devices)):
        raise BadEncoding("devices must stand in rising order, each once")
