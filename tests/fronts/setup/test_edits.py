"""Edits of settings: one value changes, every other byte stays, and taking it back gives the text that was there."""

import json
import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.fronts.setup.json_edit import Uneditable, decode_json, drop_member, set_member, value_text_at
from ctxgc.fronts.setup.toml_edit import add_table, drop_table, restore_key, set_key
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

    known = next((depth for depth in range(1, len(path) + 1) if value_text_at(text, path[:depth]) is None), None)
    if known is None:
        assert set_member(fresh, path, value_text_at(text, path)) == text
    else:
        dropped = drop_member(fresh, path[:known])
        assert decode_json(dropped) == before
        parent = value_text_at(text, path[: known - 1])
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
    "\n\n",
    "# mine",
    "# mine\nmodel = 'x'\n",
    'model = "gpt-5"\n\n[tui]\nopenai_base_url = "no"\n',
    'notes = """\nopenai_base_url = "not this"\n[x]\n"""\n[a]\nb = 1',
    "a = [\n  1, # one\n]\r\n[b]\r\n",
    "# a\u2028openai_base_url = 'x'\u0085\n[a]\n\n",
    "[mcp_servers.other]\ncommand = 'x'\n[[c]]\nd = 1\n",
]
TOMLS += [text.replace("\r\n", "\n").replace("\n", "\r\n") for text in TOMLS]
TOMLS += ["\ufeff" + text for text in TOMLS]
KEY, SERVER = "openai_base_url", ("mcp_servers", "ctxgc")
TABLE = '[mcp_servers.ctxgc]\ncommand = "ctxgc"\nargs = ["mcp"]\n'


def toml(text):
    return tomllib.loads(text.removeprefix("\ufeff"))


@pytest.mark.parametrize("text", TOMLS)
def test_a_top_level_key_is_set_whatever_follows_and_taking_it_out_gives_the_very_text(text):
    fresh = set_key(text, KEY, "http://x")

    assert toml(fresh) == toml(text) | {KEY: "http://x"}
    assert restore_key(fresh, KEY, None) == text


@pytest.mark.parametrize("text", TOMLS)
def test_a_table_stands_behind_everything_in_the_files_own_line_ends_and_goes_again(text):
    fresh = add_table(text, SERVER, TABLE)

    assert toml(fresh)["mcp_servers"]["ctxgc"] == {"command": "ctxgc", "args": ["mcp"]}
    assert fresh.startswith(text)
    assert "\r\n" not in text or not re.search(r"(?<!\r)\n", fresh.removeprefix(text))
    back = drop_table(fresh, TABLE)
    assert back.rstrip("\r\n") == text.rstrip("\r\n")


@pytest.mark.parametrize(
    "text", ["mcp_servers = { other = { command = 'x' } }\n", "mcp_servers = 1\n", f"a=1\n{TABLE}"]
)
def test_a_table_that_cannot_stand_behind_everything_is_refused_as_such(text):
    with pytest.raises(Uneditable, match=r"mcp_servers\.ctxgc\]"):
        add_table(text, SERVER, TABLE)


LINES = [
    "{} = 'http://old'  # company",
    '  {}="http://old"#c',
    '{}\t=\t"http://\\u0061 \\" # no comment" # one',
    "{} = ''",
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_of_a_key_that_is_set_the_value_alone_changes_and_comes_back(line, end, mark):
    line = line.format(KEY)
    text = f"{mark}model = 'x'{end}{line}{end}[a]{end}"

    fresh = set_key(text, KEY, "http://new")

    assert toml(fresh)[KEY] == "http://new"
    start = line.index("=") + 1
    assert line[:start] in fresh
    assert fresh.count(end) == text.count(end)
    assert (line.rpartition("#")[2] in fresh) or "#" not in line
    assert restore_key(fresh, KEY, line + end) == text


def test_a_comment_that_the_user_wrote_meanwhile_stays_beside_the_old_value():
    fresh = set_key(f"{KEY} = 'http://old'\n", KEY, "http://new").rstrip("\n") + " # mine now\n"

    assert restore_key(fresh, KEY, f"{KEY} = 'http://old'\n") == f"{KEY} = 'http://old' # mine now\n"
