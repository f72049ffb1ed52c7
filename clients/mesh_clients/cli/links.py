"""`mesh://` links, read strictly: what is not exactly one of the three kinds is refused, and nothing of it is repeated.

mesh://join/1?m=…&i=…&b=BROKER#SECRET              an invite, as mesh invite prints it; a secret
mesh://link/1?m=…&b=BROKER#SECRET                  another machine of one's own, as mesh device link prints it; a secret
mesh://to/PERSON[/SESSION][?mesh=NAME&text=TEXT]   a peer, or mesh://to/@GROUP, and what to write
"""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from mesh_clients.render import clean_line, clean_text
from mesh_protocol.wire.errors import MeshError

MAX_LINK = 4096
MAX_TEXT = 2000
MAX_PART = 64

_INVITE = re.compile(
    r"mesh://join/1\?m=[A-Za-z0-9_-]{43}&i=[A-Za-z0-9_-]{43}&b=([A-Za-z0-9._~%-]{1,800})"
    r"(?:&f=[A-Za-z0-9._~%-]{1,400})?#[A-Za-z0-9_-]{43}"
)
_DEVICE = re.compile(r"mesh://link/1\?m=[A-Za-z0-9_-]{43}&b=([A-Za-z0-9._~%-]{1,800})#[A-Za-z0-9_-]{43}")
_ADDRESS = re.compile(r"mesh://to/([^/?#]+)(?:/([^/?#]+))?(?:\?([^?#]*))?")
_LETTERS = re.compile(r"[\x21-\x7e]+")


class InviteLink(NamedTuple):
    """`url` is the whole link, which is a secret; `broker` is the broker's URL, to be shown."""

    url: str
    broker: str


class DeviceLink(NamedTuple):
    """`url` is the whole link, which is a secret; `broker` is the broker's URL, to be shown."""

    url: str
    broker: str


class PeerLink(NamedTuple):
    """Whom to write to, in which mesh (empty: whichever), and what (empty: not said)."""

    to: str
    mesh: str
    text: str

    def url(self) -> str:
        """The link that says this."""
        to = "/".join(quote(part, safe="@") for part in self.to.split("/"))
        given = [
            f"{name}={quote(value, safe='')}" for name, value in (("mesh", self.mesh), ("text", self.text)) if value
        ]
        return f"mesh://to/{to}" + (f"?{'&'.join(given)}" if given else "")


def parse_link(link: str) -> InviteLink | DeviceLink | PeerLink:
    """Raises `MeshError("bad_request")`."""
    if len(link) > MAX_LINK:
        raise bad(f"it is longer than {MAX_LINK} characters")
    if not link.startswith("mesh://"):
        raise bad("a link begins with mesh://")
    if not _LETTERS.fullmatch(link):
        raise bad("it holds blanks or letters that no link holds: copy it once more")
    if link.startswith("mesh://join/"):
        found = _INVITE.fullmatch(link)
        if found is None:
            raise bad("this is no whole invite: copy the whole line that mesh invite printed")
        return InviteLink(link, clean_line(decode(found[1])))
    if link.startswith("mesh://link/"):
        found = _DEVICE.fullmatch(link)
        if found is None:
            raise bad("this is no whole link of mesh device link: copy the whole line that it printed")
        return DeviceLink(link, clean_line(decode(found[1])))
    if link.startswith("mesh://to/"):
        return parse_address(link)
    raise bad("it is neither mesh://join/…, mesh://link/… nor mesh://to/NAME; a newer mesh may know it")


def parse_address(link: str) -> PeerLink:
    found = _ADDRESS.fullmatch(link)
    if found is None:
        raise bad("an address is mesh://to/PERSON, mesh://to/PERSON/SESSION or mesh://to/@GROUP")
    names = [decode(part) for part in (found[1], found[2]) if part]
    if not all(is_name(name) for name in names) or (names[0].startswith("@") and len(names) > 1):
        raise bad("it names nobody that can be written to")
    given: dict[str, str] = {}
    for pair in (found[3] or "").split("&") if found[3] else []:
        name, _, value = pair.partition("=")
        if name not in ("mesh", "text") or name in given:
            raise bad("it says more than mesh=… and text=…")
        given[name] = decode(value)
    mesh, text = given.get("mesh", ""), given.get("text", "")
    if len(mesh) > MAX_PART or clean_line(mesh) != mesh or len(text) > MAX_TEXT or clean_text(text) != text:
        raise bad("its text or its mesh holds what must not be shown, or is too long")
    return PeerLink("/".join(names), mesh, text)


def is_name(name: str) -> bool:
    """One name, or with @ in front a group's path: letters, digits and `- _ . ~`; nothing that means several or all."""
    plain = name.removeprefix("@")
    allowed = "-_.~/" if name.startswith("@") else "-_.~"
    return (
        0 < len(plain) <= 2 * MAX_PART
        and plain[0] not in "-~"
        and all(letter.isalnum() or letter in allowed for letter in plain)
    )


def decode(text: str) -> str:
    """Percent signs undone. Raises `MeshError`."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise bad("a percent sign in it stands for nothing")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise bad("it is not UTF-8") from None


def bad(why: str) -> MeshError:
    return MeshError("bad_request", what=f"the link cannot be opened: {why}")
