"""What the proxy is told to do: where it listens, to whom it speaks, and the token that lets a client in."""

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mesh_protocol.wire.errors import MeshError

DEFAULT_UPSTREAM: Final = "https://api.anthropic.com"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
PREFIX: Final = "/px/"
NO_VIA: Final = "none"
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}\Z|[0-9A-Fa-f:.]{2,45}\Z")
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*\Z")
_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Upstream:
    """The one API that requests go to. `path` goes before every target, without a slash at its end."""

    tls: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host header (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.path}"


def parse_upstream(url: str) -> Upstream:
    """The upstream of a URL. Raises `MeshError("bad_request")`.

    Plain http is for a gateway on this machine alone: a credential must not leave it unencrypted.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise MeshError("bad_request", what=f"{url[:200]!r} is not a URL") from None
    if parts.scheme not in _PORTS or not _HOST.match(host):
        raise MeshError("bad_request", what="the upstream is a URL such as https://api.anthropic.com")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise MeshError("bad_request", what="the upstream's URL has no user, no query and no fragment")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise MeshError("bad_request", what=f"the upstream must be https: {host} is not this machine")
    path = parts.path.rstrip("/")
    if not _PATH.match(path) or port == 0:
        raise MeshError("bad_request", what="the upstream's URL is not well formed")
    return Upstream(parts.scheme == "https", host, _PORTS[parts.scheme] if port is None else port, path)


@dataclass(frozen=True, slots=True)
class Via:
    """A proxy of the network's (CONNECT, RFC 9110, 9.3.6) that stands between this machine and the API."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"


def parse_via(url: str) -> Via | None:
    """None for an empty one. Raises `MeshError("bad_request")`."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not _HOST.match(host) or not port or parts.scheme != "http" or parts.path.strip("/") or parts.query:
        raise MeshError("bad_request", what="the network's proxy is a URL such as http://proxy.example:3128")
    if parts.username is not None or parts.password is not None:
        raise MeshError(
            "bad_request", what="a network's proxy that wants a password is not spoken to: name one that does not"
        )
    return Via(host, port)


@dataclass(frozen=True, slots=True)
class Settings:
    """How the proxy was switched on. `salt` is what the token is made from, together with the daemon's store key."""

    on: bool
    upstream: str
    port: int
    salt: bytes
    bodies: bool = False
    """What requests and answers say is stored too, for `keep_days` and up to `keep_mib` MiB."""
    keep_days: int = 14
    keep_mib: int = 512
    history_days: int = 365
    """How long single requests stay in the record."""
    via: str = ""
    """The URL of the network's proxy on the way to the upstream; empty: none."""

    def token(self, store_key: bytes) -> str:
        """The client token: it is made anew each time it is needed and stored nowhere. 256 bits, URL-safe."""
        made = hashlib.blake2b(self.salt, key=store_key[:64], person=b"mesh-proxy-token", digest_size=32).digest()
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode("ascii")

    def url(self, store_key: bytes) -> str:
        """What a client is given as its base URL. A secret: whoever has it may use the proxy."""
        return self.url_of(self.token(store_key))

    def url_of(self, token: str) -> str:
        """The base URL of whoever has this token."""
        return f"http://127.0.0.1:{self.port}{PREFIX}{token}"
