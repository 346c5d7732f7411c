"""The arguments of the MCP server's tools: the schema of each tool, and the check of a call's arguments."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HITS_MAX, LIMIT_MAX = 20, 100
"""Hits of one page, and of one call of the verb."""
IDS_MAX = 50
QUERY_CHARS_MAX = 2000
NAME_CHARS_MAX = 512
LINES_CHARS_MAX = 20
BUDGET_TOKENS, BUDGET_TOKENS_MIN, BUDGET_TOKENS_MAX = 8000, 200, 20_000
"""Agents cut a result of more than 10 to 25 k tokens without a word."""
_SESSION = {
    "type": "string",
    "maxLength": NAME_CHARS_MAX,
    "description": "The session's name as `search` prints it; default: this project's sessions",
}
_ID = {
    "type": "string",
    "maxLength": NAME_CHARS_MAX,
    "description": "A segment's id, as a tombstone or `search` names it",
}
_IDS = {
    "type": "array",
    "items": {"type": "string", "maxLength": NAME_CHARS_MAX},
    "minItems": 1,
    "maxItems": IDS_MAX,
    "description": "Ids of segments",
}
OFFSET_MAX = 10_000
_OFFSET = {
    "type": "integer",
    "minimum": 0,
    "maximum": OFFSET_MAX,
    "description": "Where to go on, as the reply before names it",
}


def _object_schema(required: tuple[str, ...] = (), **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


SCHEMAS: dict[str, dict[str, Any]] = {
    "search": _object_schema(
        ("query",),
        query={"type": "string", "maxLength": QUERY_CHARS_MAX, "description": "Words, names, paths or error texts"},
        limit={"type": "integer", "minimum": 1, "maximum": HITS_MAX, "description": "Hits to list; default 8"},
        offset=_OFFSET,
        session=_SESSION,
    ),
    "recall": _object_schema(
        id=_ID,
        query={
            "type": "string",
            "maxLength": QUERY_CHARS_MAX,
            "description": "Instead of an id: excerpts of the best hits of these words",
        },
        around={
            "type": "string",
            "maxLength": NAME_CHARS_MAX,
            "description": "Instead of an id: a segment's id, for the segment and its neighbours in time",
        },
        lines={"type": "string", "maxLength": LINES_CHARS_MAX, "description": "With an id: 40-80, 40- or 40"},
        budget_tokens={
            "type": "integer",
            "minimum": BUDGET_TOKENS_MIN,
            "maximum": BUDGET_TOKENS_MAX,
            "description": f"Tokens to bring back at most; default {BUDGET_TOKENS}",
        },
        session=_SESSION,
    ),
    "why": _object_schema(("id",), id=_ID, session=_SESSION),
    "pin": _object_schema(("ids",), ids=_IDS, session=_SESSION),
    "unpin": _object_schema(("ids",), ids=_IDS, session=_SESSION),
    "status": _object_schema(session=_SESSION),
}


def arguments_problem(arguments: Any, schema: dict[str, Any]) -> str:
    """The fault of a tool's arguments by the schema, in a sentence; empty for sound arguments."""
    if not isinstance(arguments, dict):
        return "the arguments are an object"
    if missing := [name for name in schema["required"] if name not in arguments]:
        return f"`{missing[0]}` is missing"
    for name, value in arguments.items():
        expected = schema["properties"].get(name)
        if expected is None:
            return f"there is no argument `{name[:50]}`; there are {', '.join(schema['properties'])}"
        if fault := _value_problem(value, expected):
            return f"`{name}` {fault}"
    return ""


def convert_whole_floats(arguments: Any, schema: dict[str, Any]) -> Any:
    """The arguments with 5 for 5.0: some clients know one kind of number, and so does JSON Schema."""
    if not isinstance(arguments, dict):
        return arguments
    whole = {name for name, expected in schema["properties"].items() if expected["type"] == "integer"}
    return {
        name: int(value) if name in whole and isinstance(value, float) and value.is_integer() else value
        for name, value in arguments.items()
    }


def _value_problem(value: Any, expected: dict[str, Any]) -> str:
    if expected["type"] == "string":
        if not isinstance(value, str) or not value.strip():
            return "is a text that is not empty"
        return "" if len(value) <= expected["maxLength"] else f"has {expected['maxLength']} characters at most"
    if expected["type"] == "integer":
        least, most = expected.get("minimum", 0), expected.get("maximum", 2**40)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return "" if is_number and least <= value <= most else f"is a whole number from {least} to {most}"
    if not isinstance(value, list) or not expected["minItems"] <= len(value) <= expected["maxItems"]:
        return f"is a list of {expected['minItems']} to {expected['maxItems']} texts"
    return next(filter(None, (_value_problem(item, expected["items"]) for item in value)), "")
