"""Changes of settings: what is taken back gives the text that was there, whatever the file looked like."""

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.fronts.setup.changes import Change, FileEdit, apply_changes, undo_changes
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
