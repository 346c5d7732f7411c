"""Edits of settings: one value changes, every other byte stays, and taking it back gives the text that was there."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.fronts.setup.json_edit import Uneditable, decode_json, drop_member, set_member, value_at
from ctxgc.fronts.setup.toml_edit import restore_line, set_key
from tests.effort import effort

KEYS = st.sampled_from(["env", "a", "b", "model", 'quo"te', "ü"])
GAPS = st.sampled_from(["", " ", "\n", "\n  ", " // note\n", "/* , } */", "\t", "\r\n    "])
LEAVES = st.sampled_from(["1", "-2.5e3", "true", "null", '"x"', '"a // b , } \\" c"', "[]", "[1, 2,]", '[ {"a": 1} ]'])


@st.composite
def objects(draw, depth=2):
    keys = draw(st.lists(KEYS, max_size=3, unique=True))
    text, gap = "{", lambda: draw(GAPS)
    for number, key in enumerate(keys):
        value = draw(objects(depth - 1)) if depth and draw(st.booleans()) else draw(LEAVES)
        text += ("," if number else "") + gap() + json.dumps(key) + gap() + ":" + gap() + value + gap()
    trailing = "," if keys and draw(st.booleans()) else ""
    return text + trailing + gap() + "}"


PATHS = st.sampled_from([("env",), ("statusLine",), ("env", "URL"), ("provider", "openai", "options"), ("a", "b", "c")])


@given(objects(), PATHS)
@effort(300)
def test_a_member_is_set_alone_and_taking_it_out_again_gives_the_very_text(text, path):
    before = decode_json(text)
    try:
        fresh = set_member(text, path, '"ours"')
    except Uneditable:
        node = before
        for key in path[:-1]:
            node = node.get(key) if isinstance(node, dict) else None
            assert node is None or not isinstance(node, dict) or key
        return
    expected = json.loads(json.dumps(before))
    node = expected
    for key in path[:-1]:
        node = node.setdefault(key, {})
    node[path[-1]] = "ours"
    assert decode_json(fresh) == expected

    known = next((depth for depth in range(1, len(path) + 1) if value_at(text, path[:depth]) is None), None)
    if known is None:
        assert set_member(fresh, path, value_at(text, path)) == text
    else:
        dropped = drop_member(fresh, path[:known])
        assert decode_json(dropped) == before
        parent = value_at(text, path[: known - 1])
        is_empty = "".join(parent.split()) == "{}"
        assert (set_member(dropped, path[: known - 1], parent) if is_empty and known > 1 else dropped) == (
            "{}".join(text.split(parent)) if is_empty and known == 1 else text
        )


@pytest.mark.parametrize("text", ["", "[]", "1", "{", '{"a" 1}', '{"a": 1} {}', '{"env": 1, "env": 2}', '{"a": }'])
def test_a_text_that_could_be_damaged_is_not_edited(text):
    with pytest.raises(Uneditable):
        set_member(text, ("env",), "1")


TOMLS = [
    "",
    "# mine\nmodel = 'x'\n",
    'model = "gpt-5"\n\n[tui]\nopenai_base_url = "no"\n',
    'notes = """\nopenai_base_url = "not this"\n[x]\n"""\n[a]\nb = 1',
    "a = [\n  1, # one\n]\r\n[b]\r\n",
]


@pytest.mark.parametrize("text", TOMLS)
def test_a_top_level_key_is_set_whatever_follows_and_taking_it_out_gives_the_very_text(text):
    fresh = set_key(text, "openai_base_url", "http://x")

    assert tomllib.loads(fresh) == tomllib.loads(text) | {"openai_base_url": "http://x"}
    assert restore_line(fresh, "openai_base_url", None) == text


def test_a_key_that_was_set_gets_its_old_line_back_with_its_comment():
    text = "model = 'x'\nopenai_base_url = 'http://old'  # company\n[a]\n"

    fresh = set_key(text, "openai_base_url", "http://new")

    assert tomllib.loads(fresh)["openai_base_url"] == "http://new"
    assert restore_line(fresh, "openai_base_url", "openai_base_url = 'http://old'  # company\n") == text
