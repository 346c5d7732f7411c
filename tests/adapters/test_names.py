"""Names from other systems: one file is one path, and a time is a time."""

import unicodedata

import pytest

from ctxgc.adapters.facts.shell_paths import resolve_path
from ctxgc.adapters.json_values import parse_unix_s


@pytest.mark.parametrize(
    ("path", "cwd"),
    [
        (r"C:\Users\dev\proj\src\main.rs", ""),
        (r"c:/users/dev/proj/src/main.rs", r"C:\Users\dev\proj"),
        (r"src\main.rs", r"C:\Users\dev\proj"),
        (r".\src\..\src\Main.rs", r"c:/Users/dev/proj"),
    ],
)
def test_a_windows_path_has_one_spelling(path, cwd):
    assert resolve_path(path, cwd) == "c:/users/dev/proj/src/main.rs"


def test_a_backslash_in_another_systems_name_stays():
    assert resolve_path(r"a\b.txt", "/w") == r"/w/a\b.txt"


def test_a_decomposed_name_is_the_composed_one():
    assert resolve_path(unicodedata.normalize("NFD", "résumé.md"), "/w") == "/w/résumé.md"


@pytest.mark.parametrize(
    "stamp", ["2026-05-01T10:00:00Z", 1777629600, 1777629600.0, 1777629600000, "1777629600000", "1777629600"]
)
def test_a_stamp_in_seconds_or_milliseconds_is_the_same_moment(stamp):
    assert parse_unix_s(stamp) == 1777629600.0


@pytest.mark.parametrize("value", [None, True, -5, "soon", float("nan"), 1e308, 10**400])
def test_what_is_no_stamp_is_no_moment(value):
    assert parse_unix_s(value) == 0.0
