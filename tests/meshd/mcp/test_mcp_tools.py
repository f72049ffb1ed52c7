import json

import jsonschema
import pytest

from mesh_protocol.op import Operation
from mesh_protocol.registry import load_operations
from meshd.mcp.instructions import INSTRUCTIONS, MAX_INSTRUCTIONS
from meshd.mcp.tools import describe_tool, tools_by_name

OPERATIONS = load_operations()
TOOLS = tools_by_name(OPERATIONS.values())


@pytest.mark.parametrize("operation", TOOLS.values(), ids=lambda operation: operation.tool.name)
def test_every_tool_is_described_by_a_plain_object_schema(operation: Operation) -> None:
    described = describe_tool(operation)
    schema = described["inputSchema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert "$ref" not in json.dumps(described)
    assert "$defs" not in json.dumps(described)
    hidden = operation.tool.hidden
    assert set(schema["properties"]) == set(operation.request.__struct_encode_fields__) - hidden
    assert len(described["description"]) < 4096
    assert described["annotations"]["readOnlyHint"] is operation.tool.read_only


def test_a_field_called_title_is_kept() -> None:
    assert "title" in describe_tool(TOOLS["set_profile"])["inputSchema"]["properties"]


def test_the_schema_of_send_message_takes_what_the_operation_takes() -> None:
    schema = describe_tool(TOOLS["send_message"])["inputSchema"]
    for good in ({"to": "bob", "message": "x"}, {"to": ["bob", "al"], "message": "x", "priority": "now"}):
        jsonschema.validate(good, schema)
    for bad in ({"to": "bob"}, {"to": [], "message": "x"}, {"to": "b", "message": "x", "wait": "shown"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def test_only_tools_that_change_nothing_say_that_they_only_read() -> None:
    assert {name for name, operation in TOOLS.items() if operation.tool.read_only} == {"list_peers", "message_status"}


def test_a_tool_name_given_twice_stops_the_program() -> None:
    with pytest.raises(ValueError, match="declared twice"):
        tools_by_name([TOOLS["send_message"], TOOLS["send_message"]])


def test_the_instructions_name_only_tools_that_exist_and_stay_short() -> None:
    assert len(INSTRUCTIONS) < MAX_INSTRUCTIONS
    named = {word.strip(".,()") for word in INSTRUCTIONS.split() if "_" in word}
    assert named - {"reply_to"} <= set(TOOLS)
