"""Renewing a login's token at its token endpoint (OAuth 2.0, RFC 6749 section 6). Blocking: it runs in a thread."""

import http.client
import ssl
from collections.abc import Mapping
from typing import Final

import msgspec

from meshd.seams import Clock
from meshd.services.proxy.settings import Upstream

TIMEOUT_S: Final = 20.0
MAX_ANSWER: Final = 64 * 1024
MAX_TOKEN: Final = 8 * 1024
DEFAULT_LIFE_S: Final = 3600
"""Of a token whose answer does not say (RFC 6749 5.1: it should)."""
MAX_LIFE_S: Final = 366 * 86_400


class CannotRenew(Exception):
    """No token came; the text says why and holds no secret."""


class Grant(msgspec.Struct, frozen=True):
    """`access` is the key or the token that requests carry; a login has `refresh`, and `access` is good until `until_ms`."""

    access: str
    refresh: str = ""
    until_ms: int = 0

    def __repr__(self) -> str:
        return "Grant(<secret>)"


class _Answer(msgspec.Struct):
    access_token: str
    refresh_token: str = ""
    expires_in: float = DEFAULT_LIFE_S


def renew(url: Upstream, client_id: str, refresh: str, clock: Clock, context: ssl.SSLContext | None) -> Grant:
    """A new grant for a refresh token; the old one where the answer names no new one. Raises `CannotRenew`.

    TLS is verified by `context`; None is for a plain endpoint on this machine. No redirect is followed.
    """
    asked_ms = clock()
    body = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": client_id}
    status, answer = _post(url, msgspec.json.encode(body), context)
    if status != 200:
        raise CannotRenew(f"{url.authority} answered {status}")
    try:
        told = msgspec.json.decode(answer, type=_Answer)
    except (msgspec.DecodeError, RecursionError):
        raise CannotRenew(f"{url.authority} answered with no token") from None
    for token in (told.access_token, told.refresh_token):
        if len(token) > MAX_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
            raise CannotRenew(f"{url.authority} answered with a token that no header can carry")
    if not told.access_token or not 0 < told.expires_in <= MAX_LIFE_S:
        raise CannotRenew(f"{url.authority} answered with no token that lasts")
    return Grant(told.access_token, told.refresh_token or refresh, asked_ms + round(told.expires_in * 1000))


def _post(url: Upstream, body: bytes, context: ssl.SSLContext | None) -> tuple[int, bytes]:
    headers: Mapping[str, str] = {"content-type": "application/json", "accept": "application/json"}
    connection: http.client.HTTPConnection
    if context is not None:
        connection = http.client.HTTPSConnection(url.host, url.port, timeout=TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(url.host, url.port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", url.path or "/", body, headers)
        with connection.getresponse() as answer:  # which keeps the socket open where it is not read to its end
            status, data = answer.status, answer.read(MAX_ANSWER + 1)
    except (OSError, http.client.HTTPException) as error:
        raise CannotRenew(f"{url.authority} cannot be asked: {type(error).__name__}") from None
    finally:
        connection.close()
    if len(data) > MAX_ANSWER:
        raise CannotRenew(f"{url.authority} answered with too much")
    return status, data
