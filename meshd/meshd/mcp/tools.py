"""MCP tools from operations: name, text for the agent, and the schema of the arguments, all from the declaration."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

from mesh_protocol.op import Operation, Request, read_request
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.rpc import Params

Schema: TypeAlias = "dict[str, object]"

_REFERENCE: Final = "$ref"


def tools_by_name(operations: Iterable[Operation]) -> dict[str, Operation]:
    """The operations that agents are offered, by tool name. A name given twice stops the program."""
    found: dict[str, Operation] = {}
    for operation in operations:
        if operation.tool is None:
            continue
        if operation.tool.name in found:
            raise ValueError(f"the tool {operation.tool.name} is declared twice")
        found[operation.tool.name] = operation
    return found


def describe_tool(operation: Operation) -> Schema:
    """The entry of tools/list (MCP 2025-11-25, Tool)."""
    tool = operation.tool
    if tool is None:
        raise ValueError(f"{operation.method} is no tool")
    annotations: Schema = {"readOnlyHint": tool.read_only}
    if not tool.read_only:
        annotations["destructiveHint"] = False
    return {
        "name": tool.name,
        "description": tool.text,
        "inputSchema": input_schema(operation.request, tool.hidden),
        "annotations": annotations,
    }


def input_schema(request: type[Request], hidden: frozenset[str]) -> Schema:
    """A plain object schema: references resolved, hidden fields left out, no titles."""
    whole = msgspec.json.schema(request)
    definitions = whole.get("$defs", {})
    resolved = _resolve(whole, definitions)
    if not isinstance(resolved, dict):
        raise TypeError(f"{request.__name__} has no object schema")
    resolved.pop("description", None)  # the tool's own text says it, to agents
    fields = resolved["properties"]
    if unknown := hidden - fields.keys():
        raise ValueError(f"{request.__name__} hides {sorted(unknown)}, which it does not have")
    resolved["properties"] = {name: field for name, field in fields.items() if name not in hidden}
    required = [name for name in resolved.pop("required", []) if name not in hidden]
    if required:
        resolved["required"] = required
    return resolved


def read_arguments(operation: Operation, arguments: Params) -> Request:
    """Validate what an agent gave. Raises `MeshError`; a hidden field is an unknown one."""
    tool = operation.tool
    if tool is not None:
        for name in sorted(tool.hidden & arguments.keys()):
            raise MeshError("unknown_field", method=tool.name, field=name)
    return read_request(operation, arguments)


def _resolve(schema: object, definitions: Mapping[str, object]) -> object:
    if isinstance(schema, list):
        return [_resolve(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if _REFERENCE in schema:
        name = str(schema[_REFERENCE]).rpartition("/")[2]
        return _resolve(definitions[name], definitions)
    return {
        key: _properties(value, definitions) if key == "properties" else _resolve(value, definitions)
        for key, value in schema.items()
        if key not in {"$defs", "title"}
    }


def _properties(fields: object, definitions: Mapping[str, object]) -> object:
    """Field names are names, not keywords: one may be called title."""
    if not isinstance(fields, dict):
        return fields
    return {name: _resolve(field, definitions) for name, field in fields.items()}
