"""The command and the daemon together, as a person uses them: in a home of their own, from one process to the next."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ctxgc.fronts.cli.demo import SAMPLE
from ctxgc.tokens.counter import TokenCounter
from tests.contracts.test_transcripts import sample
from tests.daemon.opencode_stores import OpenCodeStore
from tests.ranks import shipped_ranks

REPORT_KEYS = {
    "source", "session", "segments", "skipped_records", "tokens_before", "tokens_after", "budget_tokens",
    "protected_by", "held_by", "evicted", "lost", "unchecked", "recalls_tried", "recalls_exact", "children",
    "unread_records", "unread_texts",
}  # fmt: skip
SESSION = "claude_code:5a3d1e00-7b1e-4c0a-9d57-0c0ffee00001"
RUN_S = 60
COUNTER = TokenCounter(shipped_ranks)


class Home:
    """A home with its own socket, stash and configuration."""

    def __init__(self):
        # Not pytest's tmp_path: a socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ctxgc-e2e-"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CTXGC_")}
        self.env = kept | {
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "CTXGC_SOCKET": str(self.folder / "run" / "s"),
            "CTXGC_DAEMON__STATE_DIR": str(self.folder / "state"),
        }

    def run(self, *argv, stdin=b"", code=0):
        command = [sys.executable, "-m", "ctxgc.fronts.cli.main", *argv]
        done = subprocess.run(command, input=stdin, capture_output=True, env=self.env, cwd=self.folder, timeout=RUN_S)
        assert done.returncode == code, done.stderr.decode()
        return done.stdout

    def ask(self, *argv, **more):
        return json.loads(self.run(*argv, "--json", **more))

    def close(self):
        self.run("down")
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def home():
    """A home where the sample has been imported."""
    made = Home()
    try:
        made.run("import", SAMPLE)
        yield made
    finally:
        made.close()


@pytest.fixture
def empty_home():
    made = Home()
    yield made
    made.close()


@pytest.mark.slow
def test_a_daemon_is_started_once_and_stopped_for_good(empty_home):
    empty_home.run("status", code=69)

    first = empty_home.ask("up")
    again = empty_home.ask("up")

    assert first["pid"] == again["pid"]
    empty_home.run("down")
    empty_home.run("status", code=69)
    assert empty_home.ask("up")["pid"] != first["pid"]


def test_no_spawn_means_no_daemon(empty_home):
    empty_home.run("sessions", "--no-spawn", code=69)

    assert not (empty_home.folder / "run" / "s").exists()


@pytest.mark.slow
def test_a_configuration_that_will_not_do_is_code_78(empty_home):
    env = empty_home.env | {"CTXGC_DAEMON__STATE_DIR": "not/absolute"}
    command = [sys.executable, "-m", "ctxgc.fronts.cli.main", "up"]

    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=RUN_S)

    assert done.returncode == 78
    assert "must be an absolute path" in done.stderr


@pytest.mark.slow
def test_a_damaged_stash_is_reported_and_repaired_without_the_daemon(empty_home):
    empty_home.run("import", SAMPLE)
    empty_home.run("down")
    [stash] = (empty_home.folder / "state").glob("stash.sqlite3")
    with stash.open("r+b") as file:
        file.seek(stash.stat().st_size // 2)
        file.write(os.urandom(50_000))

    empty_home.run("up", code=69)
    empty_home.run("doctor", code=1)
    assert b"damaged file is kept" in empty_home.run("doctor", "--repair")
    assert empty_home.ask("doctor")["ok"]


@pytest.mark.slow
def test_the_repair_of_a_sound_stash_claims_no_damage_and_says_how_the_daemon_starts(empty_home):
    empty_home.run("import", SAMPLE)

    printed = empty_home.run("doctor", "--repair")

    assert b"the stash was sound" in printed
    assert b"damaged" not in printed
    assert b"`ctxgc up`" in printed
    assert empty_home.ask("doctor")["ok"]


def test_importing_again_changes_nothing(home):
    again = home.ask("import", SAMPLE)

    assert [one["added"] for one in again["sessions"]] == [0, 0]


def test_a_session_is_collected_explained_and_brought_back(home):
    plan = home.ask("collect", "--session", SESSION, "--budget", "15k", "--dry-run")
    done = home.ask("collect", "--session", SESSION, "--budget", "15k")

    assert done["victims"] == plan["victims"]
    assert done["after_tokens"] <= 15_000 or done["protected_by"]
    victim = done["victims"][0]["id"]
    assert home.ask("why", victim, "--session", SESSION)["verdict"] == "evicted"
    assert home.ask("log", "--session", SESSION)["collections"][0]["evicted"] == done["evicted"]
    home.run("undo", "--session", SESSION)
    assert home.ask("show", victim, "--session", SESSION)["state"] == "resident"


def test_what_was_evicted_comes_back_byte_for_byte(home):
    log = max(
        home.ask("show", "--segments", "--limit", "1000", "--session", SESSION)["segments"], key=lambda s: s["tokens"]
    )
    records = [json.loads(line) for line in Path(SAMPLE).read_text().splitlines()]
    blocks = [b for r in records for b in (r.get("message") or {}).get("content", []) if isinstance(b, dict)]
    said = next(b["content"] for b in blocks if b.get("tool_use_id") == log["id"])

    home.run("stash", log["id"], "--session", SESSION)

    assert home.run("recall", log["id"], "--session", SESSION, "--piece", "result") == said.encode()


def test_a_segment_is_found_by_words_of_its_content(home):
    best = home.ask("search", "double berth review")["hits"][0]

    assert best["label"].startswith("Bash: docker compose")


def test_excerpts_are_lines_of_the_whole_and_neither_they_nor_a_working_set_exceed_a_budget(home):
    found = home.ask("recall", "--query", "berth", "--budget", "900")
    whole = home.run("recall", found["excerpts"][-1]["address"]).decode().split("\n")
    lines = home.run("recall", found["excerpts"][-1]["address"], "--lines", "2-4").decode()
    working_set = home.run("rehydrate", SESSION, "--budget", "900").decode()

    assert [f"{n}|{line}" for n, line in enumerate(whole, 1)][1:4] == lines.split("\n")[2:5]
    assert COUNTER.count(found["text"]) == found["tokens"] <= 900
    assert 100 < COUNTER.count(working_set) <= 900
    assert "[ctxgc last request: " in working_set


def test_a_pin_keeps_a_segment_through_a_collection_to_nothing(home):
    segment = home.ask("show", "--segments", "--kind", "tool_call", "--session", SESSION)["segments"][0]["id"]
    home.run("pin", segment, "--session", SESSION)

    plan = home.ask("collect", "--session", SESSION, "--budget", "0", "--dry-run", "--limit", "1000")

    assert segment not in {victim["id"] for victim in plan["victims"]}
    home.run("unpin", segment, "--session", SESSION)


@pytest.mark.slow
def test_text_added_here_is_this_directorys_session(empty_home):
    empty_home.run("add", "--kind", "user", stdin=b"the tide tables are in data/tides\n")

    [found] = empty_home.ask("search", "tide tables")["hits"]
    assert empty_home.run("recall", found["id"]) == b"the tide tables are in data/tides\n"
    empty_home.run("forget", found["id"], "--yes")
    assert empty_home.ask("search", "tide tables")["hits"] == []


PAGES = (
    "status --session S",
    "doctor",
    "sessions",
    "show --session S",
    "log --session S",
    "collect --dry-run --session S",
    "search berth",
    "watch",
)


@pytest.mark.parametrize("words", PAGES)
def test_every_page_can_be_read_by_a_person(home, words):
    assert home.run(*words.replace("--session S", f"--session {SESSION}").split()).strip()


def test_render_prints_a_list_of_an_api(home):
    for api in ("anthropic_messages", "openai_chat"):
        assert home.ask("render", "--format", api, "--session", SESSION)["messages"]


def test_a_backup_and_an_export_are_files_that_did_not_exist(home):
    home.run("backup", "copy.db")
    home.run("export", "session.json", "--session", SESSION)

    assert (home.folder / "copy.db").stat().st_size > 100_000
    assert (home.folder / "session.json").stat().st_size > 100_000
    home.run("backup", "copy.db", code=1)


def test_call_speaks_any_verb(home):
    assert "heap.plan" in json.dumps(home.ask("call", "rpc.discover"))
    home.run("call", "heap.plan", '{"budget": 1}', code=1)


@pytest.mark.slow
def test_the_demo_loses_nothing_and_recalls_everything(empty_home):
    told = empty_home.ask("demo")

    totals = told["totals"]
    [session] = told["sessions"]
    assert set(session) == REPORT_KEYS
    assert [set(child) for child in session["children"]] == [REPORT_KEYS]
    assert totals["lost"] == 0
    assert totals["recalls_exact"] == totals["recalls_tried"] == totals["evicted"] > 20
    assert session["tokens_after"] <= session["budget_tokens"] == session["tokens_before"] // 3
    assert totals["tokens_before"] == session["tokens_before"] + session["children"][0]["tokens_before"]


@pytest.mark.slow
@pytest.mark.slow
def test_the_demo_checks_every_segment_of_opencodes_store_by_a_second_parse(empty_home):
    path = empty_home.folder / "opencode.db"
    export = json.loads(sample("opencode"))
    OpenCodeStore(path).put(export)

    told = empty_home.ask("demo", "--budget", "0", str(path))
    page = empty_home.run("demo", str(path)).decode()

    totals = told["totals"]
    assert (totals["lost"], totals["unchecked"], totals["segments"] > 3) == (0, 0, True)
    assert totals["recalls_exact"] == totals["recalls_tried"]
    assert "nothing was lost" in page


@pytest.mark.slow
def test_the_demo_is_a_page_and_leaves_nothing_behind(empty_home):
    (empty_home.folder / ".claude" / "projects").mkdir(parents=True)

    page = empty_home.run("demo").decode()

    for part in ("The window, in raw tokens", "that left, and why", "ctxgc why", "ctxgc search", "nothing was lost"):
        assert part in page
    assert "ctxgc demo ~/.claude/projects" in page
    assert not list(empty_home.folder.glob("ctxgc-demo-*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_takes_its_daemon_and_folder_with_it(empty_home, number):
    command = [sys.executable, "-m", "ctxgc.fronts.cli.main", "demo"]
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # A background job of a shell ignores it, and so would the demo.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code, tries = 0, 5
    while code == 0 and tries:  # Where this process was held up, the demo may be over before it is interrupted.
        child = subprocess.Popen(command, env=empty_home.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and not list(empty_home.folder.glob("ctxgc-demo-*/ctxgc.sock")):
            time.sleep(0.01)
        child.send_signal(number)
        code, tries = child.wait(RUN_S), tries - 1

    assert code in (130, 143)
    assert not list(empty_home.folder.glob("ctxgc-demo-*"))


@pytest.mark.slow
def test_a_file_that_is_no_transcript_is_named_and_the_rest_goes_on(empty_home):
    bad = empty_home.folder / "bad.jsonl"
    bad.write_bytes(bytes(range(256)) * 100)

    told = empty_home.ask("demo", str(bad), SAMPLE, code=1)

    assert told["totals"]["lost"] == 0
    assert len(told["sessions"]) == 1


@pytest.mark.corpus
@pytest.mark.slow
def test_every_recorded_session_survives_the_demo(empty_home, corpus):
    files = [str(path) for folder in ("claude_code", "codex") for path in sorted((corpus / folder).glob("*.jsonl.gz"))]

    command = [sys.executable, "-m", "ctxgc.fronts.cli.main", "demo", "--json", *files]
    done = subprocess.run(command, capture_output=True, env=empty_home.env, timeout=600)

    told = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr.decode()
    assert told["totals"]["lost"] == 0
    assert told["totals"]["recalls_exact"] == told["totals"]["recalls_tried"]
    for root in told["sessions"]:
        for report in (root, *root["children"]):
            assert report["tokens_after"] <= report["budget_tokens"] or report["protected_by"]
