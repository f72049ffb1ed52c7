"""Zero padding to Padmé buckets, so that a ciphertext's size tells little of its content (crypto design 2.6).

Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", 2019) lets a
size keep only as many significant bits as its exponent has bits: at most 12 % overhead, O(log log n) bits told.
"""

from mesh_protocol.pae import BadEncoding

MIN_BUCKET = 256


def bucket(size: int) -> int:
    """The padded size of `size` bytes: at least 256, at most 12 % more than `size` above that."""
    if size <= MIN_BUCKET:
        return MIN_BUCKET
    exponent = size.bit_length() - 1
    low_bits = exponent - exponent.bit_length()
    mask = (1 << low_bits) - 1
    return (size + mask) & ~mask


def pad(data: bytes) -> bytes:
    """`data` and zero bytes up to its bucket. What is padded must say itself where it ends."""
    return data.ljust(bucket(len(data)), b"\0")


def require_padding(padded: bytes, used: int) -> None:
    """Raises BadEncoding unless `padded` is `pad` of its first `used` bytes; also when it has fewer than `used`."""
    if len(padded) != bucket(used) or padded.count(0, used) != len(padded) - used:
        raise BadEncoding("the padding is not what the content's size asks for")
