"""Vectors of texts that announce files."""

from mesh_protocol.attachments import MAX_FILES, MAX_NAME, Attachment, pack_text
from mesh_protocol.pae import lst, u64
from vectors_shown import MAX, Json


def make_attachments() -> Json:
    report = Attachment("report.pdf", 123_456, bytes(range(32)))
    texts = {
        "one file": ("see the report", [report]),
        "an empty text, an empty file": ("", [Attachment("ü", 0, bytes(32))]),
        "the longest name, the greatest size": ("x", [Attachment("n" * MAX_NAME, MAX, b"\xff" * 32)]),
        "as many as there may be": ("all of it", [report] * MAX_FILES),
    }
    good = pack_text("x", [report])

    def entry(name: bytes = b"a", size: bytes = u64(1), digest: bytes = bytes(32)) -> bytes:
        return lst(b"x", lst(name, size, digest))

    refused = {
        "nothing": b"",
        "no file": lst(b"x"),
        "one byte cut": good[:-1],
        "one byte appended": good + b"\0",
        "a text that is not UTF-8": lst(b"\xff", report.encode()),
        "no name": entry(b""),
        "a path": entry(b"a/b"),
        "the folder above": entry(b".."),
        "a control character": entry(b"a\x07"),
        "text that runs backwards": entry("a\u202eb".encode()),
        "a name of 256 bytes": entry(b"n" * 256),
        "a size of seven bytes": entry(size=bytes(7)),
        "a size above 2**63 - 1": entry(size=b"\xff" * 8),
        "a digest of 31 bytes": entry(digest=bytes(31)),
        "too many files": lst(b"x", *[report.encode()] * (MAX_FILES + 1)),
    }
    return {
        "texts": [
            {
                "name": name,
                "text": text,
                "files": [{"name": each.name, "size": each.size, "digest": each.digest.hex()} for each in files],
                "hex": pack_text(text, files).hex(),
            }
            for name, (text, files) in texts.items()
        ],
        "refused": [{"why": why, "hex": data.hex()} for why, data in refused.items()],
    }
