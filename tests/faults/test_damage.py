"""A stash that is damaged: never a silent new one; check says so, repair keeps a copy, and then all of it is back."""

import contextlib
import sqlite3

import pytest

from ctxgc.daemon.server.single_instance import EXIT_BUSY

PAGE = 4096
TEXT = "the tide tables of the harbour, page {}\n" * 200


def filled(home, segments=40):
    """Texts that a daemon was given and kept, by id."""
    home.start()
    texts = {f"page{n:02}": TEXT.replace("{}", str(n)) for n in range(segments)}
    with home.client() as client:
        client.call("session.open", {"session": "s"})
        for id_, text in texts.items():
            exchange = {"kind": "tool_call", "id": id_, "tool": "Bash", "text": text}
            client.call("segment.add", {"segment": exchange})
        client.call("heap.collect", {"budget_tokens": 0})
    assert home.stop() == 0
    return texts


def read_back(home, texts):
    """Which of the texts a started daemon still gives, exactly."""
    with home.client() as client:
        kept = {}
        for segment in client.call("segment.list", {})["segments"]:
            pieces = client.call("segment.get", {"id": segment["id"]})["pieces"]
            kept[segment["id"]] = pieces[-1]["text"]
    return {id_ for id_, text in kept.items() if texts[id_] == text}, set(kept)


def overwrite(path, page, data=b"\xa5" * PAGE):
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(data)


def root_page(path, table):
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0] - 1


@pytest.mark.slow
def test_a_damaged_stash_is_refused_with_the_next_step_and_left_as_it_is(home):
    filled(home)
    overwrite(home.stash_path, root_page(home.stash_path, "segment"))
    before = home.stash_path.read_bytes()

    code, said = home.run()

    assert code == 1
    assert "--check" in said
    assert "--repair" in said
    assert "Traceback" not in said
    assert home.stash_path.read_bytes() == before


@pytest.mark.slow
def test_a_file_that_is_no_stash_is_never_replaced_in_silence(home):
    content = b"not a database at all" * 500
    filled(home, 1)
    home.stash_path.write_bytes(content)

    code, said = home.run()

    assert code == 1
    assert "Traceback" not in said
    assert home.stash_path.read_bytes() == content


@pytest.mark.slow
@pytest.mark.parametrize("table", ["segment", "session", "collection"])
def test_check_says_what_is_damaged_and_repair_brings_every_body_back(home, table):
    texts = filled(home)
    overwrite(home.stash_path, root_page(home.stash_path, table))
    damaged = home.stash_path.read_bytes()

    assert home.run("--check")[0] == 1
    code, said = home.run("--repair")

    assert code == 0, said
    assert [copy.read_bytes() for copy in home.state.glob("*.damaged-*") if "-wal" not in copy.name] == [damaged]
    assert home.run("--check")[0] == 0
    home.start()
    assert read_back(home, texts) == (set(texts), set(texts))


@pytest.mark.slow
def test_after_a_repair_that_lost_a_body_the_others_are_collected_and_recalled(home):
    texts = filled(home)
    with contextlib.closing(sqlite3.connect(home.stash_path)) as db:
        db.execute("UPDATE body SET frame = x'00' WHERE rid = (SELECT rid FROM segment WHERE id = 'page07')")
        db.execute("DELETE FROM body WHERE rid = (SELECT rid FROM segment WHERE id = 'page20')")
        db.commit()

    assert home.run("--check")[0] == 1
    assert home.run("--repair")[0] == 0

    home.start()
    kept, listed = read_back(home, texts)
    assert kept == listed == set(texts) - {"page07", "page20"}
    home.call("segment.add", segment={"kind": "user", "text": "go on", "id": "after"})
    home.call("segment.pin", ids=["page30"])
    home.call("heap.undo")
    home.call("heap.collect", budget_tokens=0)
    states = {s["id"]: s["state"] for s in home.call("segment.list")["segments"]}
    assert states["page30"] == "resident"
    assert states["page10"] == "evicted"
    back = home.call("stash.recall", id="page10")["recalled"][0]
    assert (back["id"], back["pieces"][-1]["text"]) == ("page10", texts["page10"])


@pytest.mark.slow
def test_a_sound_stash_is_called_sound_and_a_running_one_is_left_alone(home):
    filled(home, 3)

    assert "sound" in home.run("--check")[1]
    home.start()
    for flag in ("--check", "--repair"):
        code, said = home.run(flag)
        assert code == EXIT_BUSY
        assert "Traceback" not in said


@pytest.mark.slow
def test_where_no_stash_is_check_and_repair_say_so(home):
    for flag in ("--check", "--repair"):
        code, said = home.run(flag)

        assert code == 1
        assert "there is no stash" in said
    assert not home.stash_path.exists()


@pytest.mark.slow
@pytest.mark.parametrize("setting", [("CTXGC_DAEMON__STATE_DIR", "relative"), ("CTXGC_SOCKET", "/" + "x" * 200)])
def test_a_daemon_that_cannot_start_says_why_in_a_line_and_exits_with_a_code(home, setting):
    home.env |= [setting]

    code, said = home.run()

    assert code == 78
    assert said.startswith("ctxgcd: ")
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_state_folder_that_others_may_enter_is_refused(home):
    home.state.mkdir(mode=0o755)
    home.state.chmod(0o755)

    code, said = home.run()

    assert code != 0
    assert "chmod" in said
    assert "Traceback" not in said


def lose_the_log(home, texts):
    """Segments that a daemon acknowledged into a log which is lost with the daemon's end."""
    home.start()
    with home.client() as client:
        for id_, text in texts.items():
            client.call("segment.add", {"segment": {"kind": "tool_call", "id": id_, "tool": "Bash", "text": text}})
    home.kill()
    home.stash_path.with_name(home.stash_path.name + "-wal").unlink()


@pytest.mark.slow
def test_what_a_lost_log_held_is_counted_by_check_and_repair_and_then_no_more(home):
    filled(home, 5)
    lose_the_log(home, {f"late{n}": "ebb\n" for n in range(7)})

    code, report = home.run("--check")
    assert (code, "7 segments that were stored last" in report) == (1, True)
    code, report = home.run("--repair")

    assert code == 0
    assert "7 segments that were stored last" in report
    assert "write-ahead log" in report
    assert home.run("--check")[0] == 0
    home.start()
    assert home.call("doctor")["ok"]


@pytest.mark.slow
def test_a_daemon_that_goes_on_after_a_lost_log_says_what_is_missing_until_a_repair(home):
    filled(home, 5)
    lose_the_log(home, {f"late{n}": "ebb\n" for n in range(7)})

    for _ in range(2):
        home.start()
        home.call("segment.add", segment={"kind": "user", "text": "go on"})
        content = next(check for check in home.call("doctor")["checks"] if check["name"] == "content")
        assert not content["ok"]
        assert "7 segments that were stored last" in content["detail"]
        assert home.stop() == 0

    assert "7 segments that were stored last" in home.run("--repair")[1]
    home.start()
    assert home.call("doctor")["ok"]


@pytest.mark.slow
def test_a_kill_that_loses_nothing_is_not_told_as_a_loss(home):
    texts = filled(home, 5)
    home.start()
    home.call("segment.add", segment={"kind": "tool_call", "id": "late", "tool": "Bash", "text": TEXT})
    home.kill()

    assert home.run("--check")[0] == 0
    home.start()
    assert home.call("doctor")["ok"]
    assert set(texts) < read_back(home, {**texts, "late": TEXT})[0]
