"""What holds for every operation, whoever adds one."""

import inspect

import pytest
from msgspec import inspect as types

from mesh_protocol.op import Operation, Tier
from mesh_protocol.registry import load_operations
from meshd.local.dispatch import Dispatch, load_handlers
from meshd.mcp.tools import describe_tool, tools_by_name

OPERATIONS = load_operations()
TOOLS = {
    "send_message",
    "list_peers",
    "message_status",
    "check_messages",
    "set_summary",
    "set_status",
    "set_visible",
    "set_profile",
    "join_group",
    "leave_group",
}
"""What agents are promised."""


def every(operations: dict[str, Operation] = dict(OPERATIONS)) -> "pytest.MarkDecorator":  # noqa: B006 - read only
    return pytest.mark.parametrize("operation", operations.values(), ids=operations.keys())


def test_every_operation_has_one_handler() -> None:
    assert load_handlers().keys() == OPERATIONS.keys()
    Dispatch(OPERATIONS, load_handlers())


def test_a_missing_handler_stops_the_daemon_and_is_named() -> None:
    handlers = load_handlers()
    del handlers["message.send"]
    with pytest.raises(ValueError, match=r"message\.send"):
        Dispatch(OPERATIONS, handlers)


@every()
def test_every_field_is_bounded(operation: Operation) -> None:
    kind = types.type_info(operation.request)
    assert isinstance(kind, types.StructType)
    loose = [field.name for field in kind.fields if not is_bounded(field.type)]
    assert not loose, f"{operation.method}: give {loose} a length or a range (mesh_protocol/ops/fields.py)"


def is_bounded(kind: types.Type) -> bool:
    match kind:
        case types.Metadata():
            return is_bounded(kind.type)
        case types.StructType():
            return all(is_bounded(field.type) for field in kind.fields)
        case types.StrType():
            return kind.max_length is not None
        case types.IntType() | types.FloatType():
            return kind.ge is not None and kind.le is not None
        case types.ListType():
            return kind.max_length is not None and is_bounded(kind.item_type)
        case types.DictType():
            return kind.max_length is not None and is_bounded(kind.key_type) and is_bounded(kind.value_type)
        case types.UnionType():
            return all(is_bounded(each) for each in kind.types)
        case types.BoolType() | types.LiteralType():
            return True
    return False


def test_agents_are_offered_exactly_these_tools() -> None:
    assert tools_by_name(OPERATIONS.values()).keys() == TOOLS


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_a_tool_teaches_when_to_use_it_and_explains_its_arguments(name: str) -> None:
    operation = tools_by_name(OPERATIONS.values())[name]
    described = describe_tool(operation)
    assert len(str(described["description"])) > 60
    schema = described["inputSchema"]
    assert isinstance(schema, dict)
    assert schema["additionalProperties"] is False
    hidden = operation.tool.hidden if operation.tool is not None else frozenset()
    assert not hidden & schema["properties"].keys()


@every()
def test_a_tool_is_for_agents(operation: Operation) -> None:
    if operation.tool is not None:
        assert operation.tier <= Tier.AGENT
        assert not operation.guarded


@every()
def test_what_travels_beside_the_parameters_is_a_field(operation: Operation) -> None:
    if operation.payload:
        assert operation.payload in operation.request.__struct_fields__
    if operation.texts:
        first, _, inner = operation.texts.partition("[].")
        assert first in operation.answer.__struct_fields__
        assert not inner or inner.isidentifier()


@every()
def test_a_summary_is_a_sentence(operation: Operation) -> None:
    assert operation.summary[0].isupper()
    assert operation.summary.endswith(".")
    assert inspect.getdoc(operation.answer)
