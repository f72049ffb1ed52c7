"""Vectors of links with more in them: an invite that names its maker, and the place where two devices of one person meet."""

from mesh_protocol.invite import InviteLink
from mesh_protocol.meeting import MeetingLink, MeetingSeal, Side
from mesh_samples import HERE
from vectors_shown import Json

SAID = (b"", b"hello", bytes(range(256)) * 4)
"""What each side says, in this order; the last is as much as one frame holds."""


def meeting() -> MeetingLink:
    return MeetingLink(HERE.mesh_id, HERE.link.broker_url, HERE.seed("meeting secret"))


def invite_of(inviter: str) -> InviteLink:
    link = HERE.link
    return InviteLink(link.mesh_id, link.invite_id, link.broker_url, link.secret, inviter)


def make_links() -> Json:
    link = meeting()
    url = link.url()
    place, secret = url.split("#")
    return {
        "invites": [
            {
                "decoded": {
                    "mesh_id": made.mesh_id.hex(),
                    "invite_id": made.invite_id.hex(),
                    "broker_url": made.broker_url,
                    "secret": made.secret.hex(),
                    "inviter": inviter,
                },
                "url": made.url(),
            }
            for inviter in ("", "ann", "Ömer-2", "名" * 32)
            for made in [invite_of(inviter)]
        ],
        "invites_refused": refused_invites(),
        "meetings": [
            {
                "decoded": {
                    "mesh_id": each.mesh_id.hex(),
                    "broker_url": each.broker_url,
                    "secret": each.secret.hex(),
                },
                "url": each.url(),
                "public": each.key().public.hex(),
            }
            for each in (link, MeetingLink(HERE.mesh_id, "ws://127.0.0.1:8765", HERE.seed("another secret")))
        ],
        "meetings_refused": [
            {"why": why, "url": altered}
            for why, altered in {
                "nothing": "",
                "an invite": HERE.link.url(),
                "no secret": place,
                "a short secret": url[:-1],
                "padded base64": url + "=",
                "a stray bit in the secret": url[:-1] + chr(ord(url[-1]) + 1),
                "an invite's id in it": place + "&i=" + "A" * 43 + "#" + secret,
                "lower-case escapes": url.replace("%3A", "%3a"),
                "an http broker": url.replace("wss", "http"),
                "a line break at the end": url + "\n",
            }.items()
        ],
        "frames": frames(link),
        "frames_refused": refused_frames(link),
    }


def refused_invites() -> list[Json]:
    url = invite_of("ann").url()
    place, secret = url.split("#")
    without = HERE.link.url().split("#")[0]
    links = {
        "an empty name": f"{without}&f=#{secret}",
        "a name before the broker": url.replace("&f=ann", "").replace("&b=", "&f=ann&b="),
        "two names": f"{place}&f=bob#{secret}",
        "a name in another form": f"{without}&f=%EF%BC%A1nn#{secret}",
        "a blank in the name": f"{without}&f=a%20b#{secret}",
        "a name of 33 letters": f"{without}&f={'n' * 33}#{secret}",
        "a needless escape": f"{without}&f=%61nn#{secret}",
        "lower-case escapes": f"{without}&f=%c3%96mer#{secret}",
        "an escape that is no UTF-8": f"{without}&f=%FF#{secret}",
    }
    return [{"why": why, "url": link} for why, link in links.items()]


def frames(link: MeetingLink) -> list[Json]:
    rows: list[Json] = []
    sides: tuple[Side, ...] = ("own", "new")
    for side in sides:
        sealing = MeetingSeal(link, side)
        for number, content in enumerate(SAID, 1):
            nonce = HERE.seed(f"meeting {side} {number}", 24)
            rows.append(
                {
                    "name": f"{side} {number}",
                    "side": side,
                    "n": number,
                    "content": content.hex(),
                    "nonce": nonce.hex(),
                    "hex": sealing.seal(content, nonce).hex(),
                }
            )
    return rows


def refused_frames(link: MeetingLink) -> list[Json]:
    """What the member's device refuses as the new one's first frame."""
    by_name = {str(row["name"]): bytes.fromhex(str(row["hex"])) for row in frames(link)}
    first = by_name["new 1"]
    changed = {
        "its own frame": by_name["own 1"],
        "the second frame": by_name["new 2"],
        "a bit changed": first[:-1] + bytes([first[-1] ^ 1]),
        "another nonce": bytes([first[0] ^ 1]) + first[1:],
        "one byte cut": first[:-1],
        "one byte appended": first + b"\0",
        "nothing": b"",
        "more than a frame holds": by_name["new 3"] + b"\0",
    }
    return [{"why": why, "hex": data.hex()} for why, data in changed.items()]
