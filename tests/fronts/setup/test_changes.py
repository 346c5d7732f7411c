"""Changes of settings: what is taken back gives the text that was there, whatever the file looked like."""

import json
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from ctxgc.fronts.setup.changes import (
    Change,
    FileEdit,
    apply_changes,
    text_with_edit,
    text_without_edit,
    undo_changes,
)
from ctxgc.fronts.setup.json_edit import Uneditable, decode_json, set_member
from tests.effort import effort
from tests.fronts.setup.test_edits import objects

PATHS = [("env", "URL"), ("env", "TOOLS"), ("statusLine",), ("a", "b", "c"), ("a", "b", "d")]


@given(objects(), st.lists(st.sampled_from(PATHS), min_size=1, max_size=4, unique=True))
@effort(300)
def test_all_changes_taken_back_give_the_very_text(text, paths):
    edit = FileEdit("f", "json", tuple(Change(path, '{"ours": 1}') for path in paths))
    try:
        fresh, noted = apply_changes(text, edit)
    except Uneditable:
        return

    assert undo_changes(fresh, noted) == (text, [])


LISTS = st.sampled_from(
    ["[]", "[ ]", "[\n]", "[1]", "[ 1, {} ,]", "[\n  1, // one\n  2\n]", "[ // none\n]", "[{}\n, 2]"]
)


@given(objects(), st.sampled_from(PATHS), LISTS | st.none())
@effort(300)
def test_an_item_added_to_a_list_and_taken_out_gives_the_very_text(text, path, value):
    edit = FileEdit("f", "json", (Change(path, '{"hooks": [{"command": "ours"}]}', is_item=True),))
    try:
        text = text if value is None else set_member(text, path, value)
        fresh, noted = apply_changes(text, edit)
    except Uneditable:
        return

    assert undo_changes(fresh, noted) == (text, [])


@given(objects(), st.sampled_from(PATHS))
@effort(200)
def test_what_the_user_sets_meanwhile_is_there_afterwards_and_ours_is_not(text, path):
    edit = FileEdit("f", "json", (Change(path, '"ours"'),))
    try:
        fresh, noted = apply_changes(text, edit)
    except Uneditable:
        return

    back, kept = undo_changes(set_member(fresh, ("theirs",), "7"), noted)

    assert decode_json(back) == decode_json(text) | {"theirs": 7}
    assert kept == []


HOOK = Change(("hooks", "Start"), '{"matcher": "*", "hooks": [{"command": "ours", "timeout": 5}]}', is_item=True)
OURS = [
    HOOK,
    Change(("hooks", "Stop"), '{"hooks": [{"command": "ours", "timeout": 5}]}', is_item=True),
    Change(("env", "URL"), '"ours"'),
    Change(("env", "TOOLS"), '"ours"'),
    Change(("statusLine",), '{"command": "ours"}'),
]
INSTALLS = st.tuples(st.just("install"), st.lists(st.sampled_from(OURS), min_size=1, unique=True))
USER_KEYS = [("model",), ("env", "URL"), ("env", "FOO"), ("statusLine",)]
USER_SETS = st.tuples(st.just("set"), st.sampled_from(USER_KEYS), st.integers(0, 3))
USER_REMOVES = st.tuples(st.just("remove"), st.sampled_from(USER_KEYS))
USER_HOOKS = st.tuples(
    st.sampled_from(["first", "last", "beside"]), st.just(("hooks", "Start")), st.sampled_from(["mine", "more"])
)
TIMEOUTS = st.just(("timeout", ("hooks", "Start")))
ACTS = st.lists(INSTALLS | USER_SETS | USER_REMOVES | USER_HOOKS | TIMEOUTS | st.just(("delete",)), max_size=8)


def edited(settings, act):
    """The settings after an act of the user's."""
    verb, path, *value = act
    *parents, key = path
    node = settings
    for parent in parents:
        node = node.setdefault(parent, {})
    if verb == "set":
        node[key] = value[0]
    elif verb in ("first", "last"):
        node.setdefault(key, []).insert(0 if verb == "first" else 99, {"hooks": [{"command": value[0]}]})
    elif verb == "beside":  # Into the last group there is, which may be ours.
        groups = node.setdefault(key, []) or node[key].append({"hooks": []}) or node[key]
        groups[-1]["hooks"].append({"command": value[0]})
    elif verb == "timeout":  # Of a hook of ours.
        for group in node.get(key, []):
            for hook in group["hooks"]:
                hook |= {"timeout": 9} if hook["command"] == "ours" else {}
    else:
        node.pop(key, None)
    return settings


def commands(settings):
    """Settings with the commands of their hooks alone: a group of ours that the user wrote in keeps its matcher."""
    events = {
        event: sorted(hook["command"] for group in groups for hook in group["hooks"])
        for event, groups in settings.get("hooks", {}).items()
    }
    return settings | {"hooks": events}


def pruned(value):
    """A value without the empty objects and lists in it."""
    if isinstance(value, dict):
        kept = {key: pruned(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in ({}, [])}
    return value


@given(
    st.sampled_from(
        [
            None,
            "",
            "{}",
            '{"model": 9}',
            '{"hooks": {"Start": [{"hooks": [{"command": "old"}]}]}}',
            '{"env": {"FOO": 9}}',
        ]
    ),
    ACTS,
)
@example(None, [("install", OURS[:1]), ("set", ("model",), 1), ("install", OURS[1:])])
@example(None, [("install", [HOOK]), ("last", HOOK.path, "mine"), ("install", [HOOK])])
@effort(200)
def test_whatever_the_user_sets_between_installations_is_there_after_the_uninstallation(text, acts):
    with tempfile.TemporaryDirectory() as folder:
        path, standing = Path(folder) / "settings.json", None
        own = json.loads(text or "{}")
        if text is not None:
            path.write_text(text)
        for act in acts:
            if act[0] == "install":
                fresh, standing = text_with_edit(FileEdit(str(path), "json", tuple(act[1])), standing)
                path.write_text(path.read_text() if fresh is None else fresh)
            elif act[0] == "delete":
                own = {}
                path.unlink(missing_ok=True)
            else:
                own = edited(own, act)
                present = path.read_text() if path.exists() else ""
                path.write_text(json.dumps(edited(json.loads(present or "{}"), act)))

        left = text_without_edit(standing)[0] if standing else path.read_text() if path.exists() else None

        assert pruned(commands(json.loads(left or "{}"))) == pruned(commands(own))
        assert left is not None or not pruned(own)
