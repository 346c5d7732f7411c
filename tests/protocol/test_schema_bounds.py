"""Every number and every text of a verb's params is bounded in the schema that the daemon publishes."""

import pytest

from ctxgc.protocol.messages import VERBS

SQLITE_INTEGER_MAX = 2**63 - 1


def leaves(schema, place):
    """(place, schema) of every value that holds no others; defaults and enumerations are values, not schemas."""
    if isinstance(schema, dict):
        if isinstance(schema.get("type"), str):
            yield place, schema
        for name, inner in schema.items():
            if name not in ("default", "enum", "const", "required"):
                yield from leaves(inner, f"{place}.{name}")
    elif isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from leaves(inner, f"{place}[{number}]")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_integer_and_every_text_of_a_verb_is_bounded_in_its_schema(verb):
    for place, schema in leaves(VERBS[verb].params.model_json_schema(), verb):
        if schema["type"] == "integer":
            assert -SQLITE_INTEGER_MAX <= schema["minimum"] <= schema["maximum"] <= SQLITE_INTEGER_MAX, place
        if schema["type"] == "string" and not {"enum", "const"} & schema.keys():
            assert schema["maxLength"], place
