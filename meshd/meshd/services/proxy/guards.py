"""Who may use the proxy, judged by the head alone before anything else is done (limits: the listener's guards).

A web page in the user's browser, a neighbour on the machine and a rebinding name server all reach a loopback port. So:
an exact Host, no Origin at all, a token in the path, and no target but a path.
"""

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple, Protocol

from meshd.services.proxy.heads import Head, Whose
from meshd.services.proxy.settings import PREFIX

_PREFIX = PREFIX.encode("ascii")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of the proxy's own. `kind` is the API's word for it (error.type)."""

    status: HTTPStatus
    kind: str
    text: str
    retry_after: int = 0

    def answer(self, *, to_head: bool = False) -> bytes:
        """The bytes of the whole answer, after which the connection ends. `to_head`: a HEAD asked, so no body."""
        error = {"type": "error", "error": {"type": self.kind, "message": f"mesh proxy: {self.text}"}}
        body = json.dumps(error).encode()
        retry = f"retry-after: {self.retry_after}\r\n" if self.retry_after else ""
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\ncache-control: no-store\r\n{retry}connection: close\r\n\r\n"
        )
        return head.encode("ascii") + (b"" if to_head else body)


class Admitted(NamedTuple):
    """A request that may go on: its target for the upstream, beginning with a slash, and whose it is."""

    target: bytes
    whose: Whose


class NamedClient(Protocol):
    """A client with a token of its own."""

    @property
    def name(self) -> str: ...
    @property
    def account(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Guards:
    """What is compared: the person's own token, those of other clients (`find`), and the values of Host that are this
    listener's, each with the account that it stands for (empty: none)."""

    token: bytes
    hosts: Mapping[bytes, str]
    find: Callable[[bytes], NamedClient | None]

    @classmethod
    def of(
        cls,
        token: str,
        port: int,
        names: Mapping[str, str],
        find: Callable[[bytes], NamedClient | None],
    ) -> "Guards":
        """`names` are further names of the listener, with their accounts."""
        all_names = {**names, "127.0.0.1": "", "localhost": ""}
        hosts = {f"{name}:{port}".encode("ascii"): account for name, account in all_names.items()}
        return cls(token.encode("ascii"), hosts, find)

    def admit(self, head: Head) -> Admitted | Refusal:
        """The request as it may go on; or why it may not."""
        if head.values(b"origin"):
            return Refusal(HTTPStatus.FORBIDDEN, "permission_error", "no web page may ask here")
        hosts = head.values(b"host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST, "permission_error", "this is not its address")
        if not head.target.startswith(_PREFIX):
            return _NO_TOKEN
        token, slash, rest = head.target[len(_PREFIX) :].partition(b"/")
        if not slash:
            token, question, rest = token.partition(b"?")
            rest = question + rest
        by_host = self.hosts[hosts[0].lower()]
        if hmac.compare_digest(token, self.token):
            whose = Whose(account=by_host)
        elif (client := self.find(token)) is not None:
            whose = Whose(client.name, client.account or by_host)
        else:
            return _NO_TOKEN
        if any(byte <= 0x20 or byte >= 0x7F for byte in rest):
            return Refusal(HTTPStatus.BAD_REQUEST, "invalid_request_error", "the target is not well formed")
        return Admitted(b"/" + rest, whose)


_NO_TOKEN = Refusal(
    HTTPStatus.FORBIDDEN, "permission_error", "the base URL has no token that is known here: mesh proxy env prints it"
)
