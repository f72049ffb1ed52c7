"""The label registry: unique, one constructing function for each label, and nothing signed under a computed label."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from mesh_protocol import pae

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for package in ("protocol/mesh_protocol", "meshd/meshd", "broker/mesh_broker", "clients/mesh_clients")
    for path in (ROOT / package).rglob("*.py")
)
# Registered so that nobody takes them for something else; the features that use them are not built yet.
RESERVED = frozenset(
    {
        "action-approval",
        "action-request",
        "file-key",
        "file-manifest",
        "file-payload",
        "file-wrap",
        "log-aad",
        "log-key",
        "log-sig",
        "remote-open",
        "runner-attest",
        "snapshot-key",
        "vault-aad",
        "vault-grant",
    }
)
PURPOSE_ARGUMENT = {"pae": 0, "split_pae": 1, "split_signed": 1}


def uses():
    """{function name: {label: [where]}} for every call of a function that takes a purpose, with its literal."""
    found = {name: defaultdict(set) for name in PURPOSE_ARGUMENT}
    computed = []
    for path in SOURCES:
        if path.name == "pae.py":
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in ast.walk(function):
                if not isinstance(call, ast.Call):
                    continue
                name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
                if name in PURPOSE_ARGUMENT:
                    argument = call.args[PURPOSE_ARGUMENT[name]]
                    where = f"{path.relative_to(ROOT)}:{function.name}"
                    if isinstance(argument, ast.Constant):
                        found[name][argument.value].add(where)
                    else:
                        computed.append(where)
    return {name: dict(by_label) for name, by_label in found.items()}, computed


FOUND, COMPUTED = uses()


def test_every_label_is_registered_once():
    assert len(pae.PURPOSES) == len(pae.LABELS) == len(set(pae.PURPOSES))


def test_every_purpose_is_a_literal():
    assert COMPUTED == []


@pytest.mark.parametrize("label", sorted(pae.LABELS - RESERVED))
def test_a_used_label_is_made_in_exactly_one_function(label):
    assert len(FOUND["pae"].get(label, ())) == 1, FOUND["pae"].get(label)


@pytest.mark.parametrize("label", sorted(pae.LABELS))
def test_a_label_is_parsed_in_at_most_one_function(label):
    parsed = [where for name in ("split_pae", "split_signed") for where in FOUND[name].get(label, ())]
    assert len(parsed) <= 1, parsed


def test_reserved_labels_are_registered_and_unused():
    assert RESERVED <= pae.LABELS
    assert not RESERVED & set().union(*FOUND.values())


def test_nothing_outside_the_registry_is_used():
    for by_label in FOUND.values():
        assert set(by_label) <= pae.LABELS


def test_an_unregistered_purpose_is_a_programming_error():
    for call in (lambda: pae.pae("nonsense"), lambda: pae.split_pae(b"", "nonsense", 1)):
        with pytest.raises(ValueError, match="LABELS") as raised:
            call()
        assert not isinstance(raised.value, pae.CryptoError)
