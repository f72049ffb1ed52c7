"""Reading command lines: flags behave as people expect them to, and every mistake says what to do."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_clients.cli import own
from mesh_clients.cli.grammar import Verb, read_line, split_verb
from mesh_clients.cli.main import find_verb
from mesh_clients.cli.table import VERBS
from mesh_protocol.op import operation_of, read_request
from mesh_protocol.registry import load_operations
from mesh_protocol.wire.errors import MeshError

ALL = [*VERBS, *own.VERBS]
OPERATIONS = load_operations()


def read(name: str, *arguments: str) -> dict:
    return read_line(find_verb(name), list(arguments)).params


def refused(name: str, *arguments: str) -> str:
    with pytest.raises(MeshError) as caught:
        read_line(find_verb(name), list(arguments))
    assert caught.value.code == "bad_request"
    assert caught.value.exit == 2
    return caught.value.message


@pytest.mark.parametrize(
    ("arguments", "params"),
    [
        (("bob", "hi"), {"to": "bob", "message": "hi"}),
        (("bob", "-"), {"to": "bob", "message": "-"}),
        (("bob,al/web, eve", "hi"), {"to": ["bob", "al/web", "eve"], "message": "hi"}),
        (("bob", "hi", "--priority", "now"), {"to": "bob", "message": "hi", "priority": "now"}),
        (("--priority=now", "bob", "hi"), {"to": "bob", "message": "hi", "priority": "now"}),
        (("bob", "--timeout", "2.5", "hi"), {"to": "bob", "message": "hi", "timeout": 2.5}),
        (("bob", "-5"), {"to": "bob", "message": "-5"}),
        (("bob", "- one item"), {"to": "bob", "message": "- one item"}),
        (("bob", "--", "--wait"), {"to": "bob", "message": "--wait"}),
        (("bob", "hi", "--idempotency-key=--x="), {"to": "bob", "message": "hi", "idempotency_key": "--x="}),
        (("bob", "hi", "--timeout", "-1"), {"to": "bob", "message": "hi", "timeout": -1.0}),
        (("bob", "hi", "--mesh", "team", "--mesh=other"), {"to": "bob", "message": "hi", "mesh": "other"}),
        (("bob", "", "--reply-to", "ab"), {"to": "bob", "message": "", "reply_to": "ab"}),
        (("bob", "a,b"), {"to": "bob", "message": "a,b"}),
        (("bob", "-hello=world is a text"), {"to": "bob", "message": "-hello=world is a text"}),
    ],
)
def test_send_reads(arguments: tuple[str, ...], params: dict) -> None:
    assert read("send", *arguments) == params


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("send", (), "TO and MESSAGE are missing"),
        ("send", ("bob",), "MESSAGE is missing"),
        ("send", ("bob", "two", "words"), "put quotation marks around a text with blanks"),
        ("send", ("bob", "hi", "--prioritty", "now"), "did you mean --priority?"),
        ("send", ("bob", "hi", "--priority", "soon"), "--priority is one of now, next, low, not 'soon'"),
        ("send", ("bob", "hi", "--priority"), "--priority needs a value"),
        ("send", ("bob", "hi", "--priority", "--json"), "--priority needs a value"),
        ("send", ("bob", "hi", "--timeout", "soon"), "--timeout is a number"),
        ("send", ("bob", "hi", "--timeout", "nan"), "--timeout is a number"),
        ("send", ("bob", "hi", "--timeout=inf"), "--timeout is a number"),
        ("send", ("bob", "-hi"), "-- goes before a text that begins with -"),
        ("send", ("bob", "hi\udcff"), "is not UTF-8"),
        ("inbox", ("--limit", "2.5"), "--limit is a whole number"),
        ("inbox", ("--limit", "\u0663"), "--limit is a whole number"),
        ("inbox", ("--limit", "9" * 5000), "--limit is a whole number"),
        ("inbox", ("--all=yes",), "--all takes no value"),
        ("inbox", ("--json=1",), "--json takes no value"),
        ("peers", ("bob",), "one argument too many, 'bob'"),
        ("status", ("-x",), "there is no flag -x"),
        ("invite", ("--role", "king"), "--role is one of member, admin, owner"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(name: str, arguments: tuple[str, ...], says: str) -> None:
    assert says in refused(name, *arguments)


def test_flags_of_every_command_may_stand_anywhere() -> None:
    for arguments in (["--json", "send", "bob", "hi", "--no-start"], ["send", "--no-start", "bob", "--json", "hi"]):
        name, rest = split_verb(arguments)
        line = read_line(find_verb(name), rest)
        assert (name, line.json, line.start, line.params) == ("send", True, False, {"to": "bob", "message": "hi"})
    assert split_verb(["--mesh", "team", "peers"]) == ("peers", ["--mesh", "team"])
    assert split_verb(["--mesh=team", "peers"]) == ("peers", ["--mesh=team"])
    assert split_verb([]) == ("", [])
    assert split_verb(["--", "peers"])[0] == ""


@pytest.mark.parametrize("name", ALL)
def test_help_and_json_are_understood_by_every_verb_whatever_else_is_missing(name: str) -> None:
    line = read_line(find_verb(name), ["--json", "--help"])
    assert (line.json, line.help) == (True, True)


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_flag_is_refused_by_every_verb(name: str) -> None:
    assert "there is no flag --frobnicate" in refused(name, "--frobnicate")


@pytest.mark.parametrize("name", list(VERBS))
def test_every_flag_of_every_verb_reads_a_value_that_its_operation_takes(name: str) -> None:
    verb = find_verb(name)
    operation = OPERATIONS[verb.method]
    given = {"text": "0a1b2c3d4e", "targets": "bob", "int": "60", "float": "2", "on": "", "texts": "0a1b2c3d"}
    special = {"since": "7d"}
    arguments = [given[field.kind] if not field.choices else field.choices[-1] for field in verb.positional]
    for field in verb.flags:
        arguments.append(field.flag)
        if field.kind != "on":
            arguments.append(field.choices[0] if field.choices else special.get(field.name, given[field.kind]))
    params = read_line(verb, arguments).params
    assert set(params) == {field.name for field in verb.fields}
    extra = {row[0] for row in own.MORE_FIELDS.get(name, ())}
    assert operation.command is not None
    # What the verb's own module asks for or reads: no flag gives it.
    asked = {
        field.name: b"0a1b2c3d4e" if field.type is bytes else given["text"]
        for field in msgspec.structs.fields(operation.request)
        if field.required and field.name in operation.command.hidden
    }
    read_request(operation, {**asked, **{key: value for key, value in params.items() if key not in extra}})


def test_every_verb_of_the_table_is_its_operations() -> None:
    declared = {operation.command.verb: method for method, operation in OPERATIONS.items() if operation.command}
    assert {name: find_verb(name).method for name in VERBS} == declared
    for method in declared.values():
        assert operation_of(OPERATIONS[method].request).method == method


def test_every_verb_is_in_the_overview_once() -> None:
    shown = [name for _, names in own.ORDER for name in names]
    assert sorted(shown) == sorted(ALL)
    assert set(own.HANDLERS) <= set(ALL)
    assert {name for name, _ in own.HELP} <= set(VERBS)


@settings(deadline=None)
@given(st.lists(st.text(max_size=12) | st.sampled_from(["--wait", "--json", "--", "-", "--mesh=", "-1"]), max_size=8))
def test_no_command_line_makes_it_fail_otherwise(arguments: list[str]) -> None:
    codes: set[str] = set()
    for name in ("send", "inbox", "new"):
        verb: Verb = find_verb(name)
        try:
            params = set(read_line(verb, arguments).params)
        except MeshError as error:
            params = set()
            codes.add(error.code)
        assert params <= {field.name for field in verb.fields}
    assert codes <= {"bad_request"}


@pytest.mark.parametrize("words", [("dm", "broadcast"), ("dm,broadcast",), ("dm,", "broadcast,")])
def test_the_last_argument_may_be_a_list_with_blanks_or_commas_between(words: tuple[str, ...]) -> None:
    line = read_line(find_verb("grant"), ["bob", *words, "--mesh", "team"])
    assert line.params == {"peer": "bob", "keys": ["dm", "broadcast"], "mesh": "team"}


def test_each_word_of_a_list_is_one_that_the_command_knows() -> None:
    assert "KEYS... is missing" in refused("grant", "bob")
    assert "KEYS... is missing" in refused("grant", "bob", ",")
    assert "KEYS... is one of read, dm, broadcast, not 'mail'" in refused("revoke", "bob", "dm", "mail")
