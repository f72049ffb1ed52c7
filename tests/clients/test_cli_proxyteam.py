"""`mesh proxy account`: nobody types a secret for a proxy that is off."""

from types import SimpleNamespace
from typing import Any

import pytest

from mesh_clients.cli import proxyteam
from mesh_protocol.wire.errors import MeshError


def called(state: str, calls: list[str]) -> Any:
    def call(params: dict[str, Any], *, method: str = "proxy.account") -> dict[str, Any]:
        calls.append(method)
        return {"state": state} if method == "proxy.status" else {"name": params["name"], "secret": params["secret"]}

    verb = SimpleNamespace(name="proxy account")
    return SimpleNamespace(verb=verb, params={"name": "work"}, call=call, as_json=True)


def test_no_secret_is_asked_for_where_the_proxy_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(proxyteam, "read_secret", lambda what: asked.append(what) or "a key")
    calls: list[str] = []
    with pytest.raises(MeshError) as refused:
        proxyteam.run(called("off", calls))
    assert (refused.value.code, asked, calls) == ("service_off", [], ["proxy.status"])
    for state in ("on", "failed"):
        assert proxyteam.run(called(state, calls)) == 0
    assert asked == ["API key"] * 2
