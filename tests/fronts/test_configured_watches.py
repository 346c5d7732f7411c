"""`ctxgc watch --keep`: a followed folder in the configuration, which stays as it is but for that."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.config import load_config
from ctxgc.daemon.feeds.watch import WATCHED_MAX
from ctxgc.fronts.cli.configured_watches import set_watch_path
from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.fronts.setup.toml_edit import edit_watch_paths

TEXTS = st.sampled_from(
    [
        "",
        "# mine\n[gateway]\nport = 8790\n",
        "[watch]\n",
        '[watch] # folders\npaths = ["/a"] # one\n\n[pacer]\n',
        "[gateway.modes]\ncodex = 'on'\n[watch]\npaths = []",
    ]
)
PATHS = st.sampled_from(["/a", "/b c", '/d"é', "/\U0001f600"]) | st.text(st.characters(exclude_categories=["Cs"])).map(
    lambda name: f"/{name}"
)


@given(TEXTS, st.lists(st.tuples(PATHS, st.booleans()), max_size=5))
def test_only_the_paths_change_and_each_is_there_once(text, acts):
    before = tomllib.loads(text)
    expected = list(before.get("watch", {}).get("paths", []))
    for path, is_kept in acts:
        text = edit_watch_paths(text, path, is_kept=is_kept)
        expected = [other for other in expected if other != path or is_kept]
        expected += [path] * (is_kept and path not in expected)

        after = tomllib.loads(text)
        assert after.get("watch", {}).get("paths", []) == expected
        assert after | {"watch": {}} == before | {"watch": {}} or not before.get("watch")
    assert text.count("# mine") == ("gateway" in before and "modes" not in before["gateway"])


def test_a_kept_path_is_one_that_a_daemon_follows_from_its_start(tmp_path):
    file = tmp_path / "config.toml"

    assert set_watch_path(file, "/srv/logs", is_kept=True)
    assert not set_watch_path(file, "/srv/logs", is_kept=True)

    assert [str(path) for path in load_config(file, {}).watch.paths] == ["/srv/logs"]


def test_a_list_over_several_lines_is_left_to_the_person(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('[watch]\npaths = [\n  "/a",\n]\n')

    with pytest.raises(CommandRefused) as refused:
        set_watch_path(file, "/b", is_kept=True)

    assert "by hand" in refused.value.hint
    assert file.read_text() == '[watch]\npaths = [\n  "/a",\n]\n'


def test_a_path_beyond_the_bound_is_refused_and_leaves_a_configuration_that_a_daemon_starts_with(tmp_path):
    file = tmp_path / "config.toml"
    for number in range(WATCHED_MAX):
        set_watch_path(file, f"/srv/{number}", is_kept=True)
    before = file.read_text()

    with pytest.raises(CommandRefused) as refused:
        set_watch_path(file, "/srv/more", is_kept=True)

    assert "watch.paths" in str(refused.value)
    assert file.read_text() == before
    assert len(load_config(file, {}).watch.paths) == WATCHED_MAX


def test_a_path_can_be_taken_out_of_a_configuration_that_has_too_many(tmp_path):
    file = tmp_path / "config.toml"
    paths = [f"/srv/{number}" for number in range(WATCHED_MAX + 1)]
    file.write_text(f"[watch]\npaths = {paths}\n")

    assert set_watch_path(file, paths[0], is_kept=False)

    assert len(load_config(file, {}).watch.paths) == WATCHED_MAX
