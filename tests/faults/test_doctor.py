"""`doctor` reads the stash: damage that a read would meet is found before a read meets it."""

import contextlib
from sqlite3 import connect

import pytest

from ctxgc.daemon.verbs.admin import _check_state_folder
from ctxgc.stash import examination, sqlite
from ctxgc.stash.sqlite import SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.test_laws import a_session
from tests.faults.test_damage import filled, overwrite, root_page


async def content_check(bench, **params):
    checks = (await bench.call("doctor", **params))["checks"]
    return next(check for check in checks if check["name"] == "content")


def run_on(bench, *statements):
    with contextlib.closing(connect(bench.stash.path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


async def test_a_sound_stash_is_called_sound_with_the_count_of_what_was_read(kept_bench):
    await a_session(kept_bench)

    check = await content_check(kept_bench)

    assert (check["ok"], check["detail"]) == (True, "10 bodies read, as they were admitted")


@pytest.mark.parametrize("damage", ["UPDATE body SET frame = x'00'", "DELETE FROM body"])
async def test_a_body_that_is_not_as_it_was_admitted_is_named_with_the_next_step(kept_bench, damage):
    await a_session(kept_bench, name="hurt")
    run_on(kept_bench, f"{damage} WHERE rid = (SELECT rid FROM segment WHERE id = 'call2')")

    check = await content_check(kept_bench)

    assert not check["ok"]
    assert "'call2' of client:hurt" in check["detail"]
    assert "--repair" in check["hint"]


async def test_damage_outside_of_the_sample_is_found_by_a_deep_examination(kept_bench, monkeypatch):
    await a_session(kept_bench)
    monkeypatch.setattr(examination, "SAMPLE_NEWEST", 1)
    monkeypatch.setattr(examination, "SAMPLE_DRAWN", 0)
    run_on(kept_bench, "UPDATE body SET frame = x'00' WHERE rid = 1")

    assert (await content_check(kept_bench))["ok"]
    assert not (await content_check(kept_bench, deep=True))["ok"]


async def test_a_sample_draws_from_all_bodies(kept_bench, monkeypatch):
    await a_session(kept_bench)
    monkeypatch.setattr(examination, "SAMPLE_NEWEST", 1)
    run_on(kept_bench, "UPDATE body SET frame = x'00' WHERE rid = 1")

    assert not (await content_check(kept_bench))["ok"]


async def test_pages_that_take_too_long_are_told_to_be_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "PAGES_S_MAX", -1.0)
    monkeypatch.setattr(sqlite, "INTERRUPT_OPS", 1)
    async with bench_on(SqliteStash(tmp_path / "state" / "stash.sqlite3", reserve_bytes=0)) as bench:
        await a_session(bench)

        check = await content_check(bench)

        assert check["ok"]
        assert "--deep" in check["detail"]
        assert (await content_check(bench, deep=True))["detail"] == "10 bodies read, as they were admitted"


@pytest.mark.slow
@pytest.mark.parametrize("table", ["body", "segment", "path", "collection"])
def test_a_page_that_is_overwritten_under_a_running_daemon_makes_doctor_fail(home, table):
    filled(home)
    home.start()
    home.call("ping")  # The file was looked at when it was opened.
    overwrite(home.stash_path, root_page(home.stash_path, table))

    report = home.call("doctor")

    assert not report["ok"]
    content = next(check for check in report["checks"] if check["name"] == "content")
    assert (content["ok"], "--repair" in content["hint"]) == (False, True)


@pytest.mark.parametrize(("mode", "said"), [(0o700, "mode 0700, ours"), (0o755, "mode 0755"), (None, "No such file")])
def test_a_state_folder_that_is_gone_or_open_to_others_is_told_as_what_it_is(tmp_path, mode, said):
    folder = tmp_path / "state"
    if mode is not None:
        folder.mkdir()
        folder.chmod(mode)

    check = _check_state_folder(str(folder))

    assert check.ok is (mode == 0o700)
    assert said in check.detail
