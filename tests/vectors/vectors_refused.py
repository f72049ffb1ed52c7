"""Bytes that every implementation must refuse: broken lists, numbers and links, and altered copies of the good objects."""

from mesh_protocol.pae import lst, u64
from mesh_samples import HERE
from mesh_targets import targets
from vectors_group import refused_envelopes, refused_fans
from vectors_shown import Json


def make_refused() -> Json:
    good = lst(b"ab", b"c")
    lists = {
        "nothing": b"",
        "seven bytes of a count": good[:7],
        "a count without items": u64(1),
        "a count above the items": u64(3) + good[8:],
        "a count below the items": u64(1) + good[8:],
        "the greatest count": b"\xff" * 8,
        "a length behind the end": u64(1) + u64(2) + b"x",
        "the greatest length": u64(1) + b"\xff" * 8 + b"x",
        "a length of 2**63": u64(1) + bytes(7) + b"\x80",
        "a byte after the end": good + b"\0",
        "cut inside an item": good[:-1],
        "cut inside a length": good[:-5],
        "big-endian": (1).to_bytes(8, "big") + (1).to_bytes(8, "big") + b"x",
    }
    url = HERE.link.url()
    secret = url.split("#")[1]
    links = {
        "nothing": "",
        "no secret": url.split("#")[0],
        "an empty secret": url.split("#")[0] + "#",
        "a short secret": url[:-1],
        "a long secret": url + "A",
        "padded base64": url + "=",
        "a stray bit in the secret": url[:-1] + chr(ord(url[-1]) + 1),
        "another version": url.replace("/1?", "/2?"),
        "another scheme": url.replace("mesh://", "http://"),
        "upper-case scheme": url.replace("mesh://", "MESH://"),
        "another order": url.replace("?m=", "?i=", 1).replace("&i=", "&m=", 1),
        "a field more": url.replace("#", "&x=1#"),
        "a repeated field": url.replace("&b=", "&b=wss%3A%2F%2Fa&b="),
        "a broker that is no URL": f"{url.split('&b=')[0]}&b=broker.example#{secret}",
        "an http broker": url.replace("wss", "http"),
        "an unescaped broker": url.replace("%3A%2F%2F", "://"),
        "lower-case escapes": url.replace("%3A", "%3a"),
        "a needless escape": url.replace("wss", "%77ss"),
        "an escape that is no ASCII": url.replace("%2Fmesh", "%2F%FF"),
        "a line break at the end": url + "\n",
        "blanks around": f" {url} ",
    }
    return {
        "lists": [{"why": why, "hex": data.hex()} for why, data in lists.items()],
        "numbers": [
            {"why": "above 2**63 - 1", "hex": (bytes(7) + b"\x80").hex()},
            {"why": "seven bytes", "hex": "00" * 7},
        ],
        "links": [{"why": why, "url": link} for why, link in links.items()],
        "objects": altered_objects(),
        "group_prekey": HERE.seed("bob prekey").hex(),
        "group_envelopes": refused_envelopes(),
        "fans": refused_fans(),
    }


def altered_objects() -> list[Json]:
    """Every good object with one thing wrong."""
    objects = []
    for name, target in targets().items():
        data = target.good
        flipped = data[:-1] + bytes([data[-1] ^ 1])
        changes = {
            "one byte cut": data[:-1],
            "one byte appended": data + b"\0",
            "one field more announced": bytes([data[0] + 1]) + data[1:],
            "one field less announced": bytes([data[0] - 1]) + data[1:],
            "the last bit flipped": flipped,
            "the first field changed": data[:16] + bytes([data[16] ^ 2]) + data[17:],
        }
        objects += [{"object": name, "why": why, "hex": altered.hex()} for why, altered in changes.items()]
    return objects
