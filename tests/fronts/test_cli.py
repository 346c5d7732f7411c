"""The command as a client: what it asks, what it prints, how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ctxgc.fronts.cli import commands
from ctxgc.fronts.cli.completion import SHELLS_KNOWN, completion_script
from ctxgc.fronts.cli.reference import reference_page
from ctxgc.protocol.messages import VERBS
from tests.fronts import replies
from tests.fronts.fake_daemon import Refusal

ROOT = Path(__file__).parents[2]
HEAVY = {"asyncio", "pydantic", "msgspec", "aiosqlite", "tiktoken", "typing", "dataclasses", "subprocess", "shutil"}

CASES = {
    "status": (["status"], {"stats": replies.STATS, "session.show": replies.SHOW}),
    "up": (["up"], {"ping": {}, "stats": replies.STATS}),
    "doctor": (["doctor"], {"doctor": {"ok": True, "checks": []}}),
    "sessions": (["sessions"], {"session.list": {"sessions": [replies.SESSION], "next_offset": -1}}),
    "show": (["show"], {"session.show": replies.SHOW}),
    "show one": (["show", "toolu_1"], {"segment.get": replies.content(replies.piece("x"))}),
    "pin": (["pin", "a"], {"segment.pin": {"session": "s", "ids": ["a"], "changed": "pinned a"}}),
    "unpin": (["unpin", "a"], {"segment.unpin": {"session": "s", "ids": ["a"], "changed": "unpinned a"}}),
    "stash": (["stash", "a"], {"segment.evict": replies.PLAN}),
    "collect": (["collect"], {"heap.collect": replies.PLAN}),
    "collect --dry-run": (["collect", "--dry-run"], {"heap.plan": replies.PLAN}),
    "undo": (["undo"], {"heap.undo": replies.PLAN}),
    "why": (["why", "toolu_3"], {"heap.why": replies.WHY}),
    "log": (["log"], {"heap.log": replies.LOG}),
    "search": (["search", "clock"], {"stash.search": {"hits": [replies.HIT], "notes": [], "next_offset": -1}}),
    "recall": (["recall", "toolu_1"], {"stash.recall": replies.recalled(replies.content(replies.piece("x")))}),
    "recall --query": (["recall", "--query", "clock"], {"stash.recall": replies.FRAMED}),
    "rehydrate": (["rehydrate"], {"session.rehydrate": replies.WORKING_SET}),
    "forget": (["forget", "a", "--yes"], {"stash.forget": {"forgotten": 1, "changed": "forgot 1 segment"}}),
    "backup": (["backup", "copy.db"], {"backup": {"changed": "wrote copy.db"}}),
    "export": (["export", "s.json"], {"export": {"changed": "wrote s.json"}}),
    "render": (["render"], {"session.render": {"messages": [{"role": "user"}]}}),
    "watch": (["watch"], {"watch.list": {"watched": []}}),
    "import": (["import", "a.jsonl"], {"import": {"sessions": [], "failed": [], "bytes": 0, "seconds": 0.0}}),
    "add": (["add", "text", "--session", "s"], {"segment.add": {"session": "s", "ids": ["a"], "changed": "added"}}),
    "call": (["call", "ping", "{}"], {"ping": {"pong": True}}),
}


@pytest.mark.parametrize("name", [name for name in CASES if name != "status"])
def test_json_is_the_daemons_reply_unchanged(name, daemon, run):
    argv, canned = CASES[name]
    server = daemon(canned)

    ran = run(server, *argv, "--json")

    assert ran.code == 0, ran.err
    assert json.loads(ran.out) == server.reply(next(reversed(canned)))


@pytest.mark.parametrize("name", [name for name in CASES if name != "show"])
def test_every_command_says_something_to_a_person(name, daemon, run):
    argv, canned = CASES[name]

    ran = run(daemon(canned), *argv)

    assert ran.code == 0, ran.err
    assert ran.out.strip()
    assert "\x1b" not in ran.out, "no colour where stdout is no terminal"


def test_every_verb_a_command_uses_exists():
    used = {method for _, canned in CASES.values() for method in canned}

    assert used <= set(VERBS)


def test_a_command_means_the_newest_session_of_its_directory(daemon, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = daemon({"heap.why": replies.WHY})

    run(server, "why", "toolu_3")

    assert server.params("heap.why") == {"cwd": str(tmp_path), "id": "toolu_3"}


def test_a_session_that_is_named_is_the_one_meant_wherever_the_command_runs(daemon, run):
    server = daemon({"heap.why": replies.WHY})

    run(server, "why", "toolu_3", "--session", "codex:abc")

    assert server.params("heap.why") == {"session": "codex:abc", "id": "toolu_3"}


@pytest.mark.parametrize("is_known", [True, False])
def test_an_agents_command_means_the_agents_own_session_where_the_daemon_has_it(is_known, daemon, run, monkeypatch):
    listed = {"segments": []} if is_known else Refusal("not_found", "no such session")
    server = daemon({"segment.list": listed, "heap.why": replies.WHY})
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", "0b3c")

    run(server, "why", "toolu_3")

    params = server.params("heap.why")
    assert params.get("session") == ("claude_code:0b3c" if is_known else None)
    assert ("cwd" in params) is not is_known


def test_options_may_stand_before_the_command(daemon, run):
    server = daemon({"heap.why": replies.WHY})

    ran = run(server, "--json", "--session", "codex:abc", "why", "toolu_3")

    assert json.loads(ran.out) == replies.WHY
    assert server.params("heap.why")["session"] == "codex:abc"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("not_found", 1),
        ("conflict", 1),
        ("storage", 1),
        ("busy", 75),
        ("deadline", 75),
        ("config", 78),
        ("internal", 1),
    ],
)
def test_the_exit_code_says_what_kind_of_no_it_was(kind, code, daemon, run):
    server = daemon({"heap.why": Refusal(kind, "it cannot be", "do this instead")})

    ran = run(server, "why", "x")

    assert ran.code == code
    assert ran.out == ""
    assert ran.err == "ctxgc: it cannot be\n       do this instead\n"


def test_without_a_daemon_the_next_step_is_named(run, tmp_path):
    ran = run(tmp_path / "none.sock", "status")

    assert ran.code == 69
    assert "ctxgc up" in ran.err


def test_a_failure_is_one_json_object_too(daemon, run):
    server = daemon({"heap.why": Refusal("not_found", "no segment 'x'", "`ctxgc show` lists the ids")})

    ran = run(server, "why", "x", "--json")

    error = {"kind": "not_found", "message": "no segment 'x'", "hint": "`ctxgc show` lists the ids"}
    assert json.loads(ran.out) == {"error": error}


@pytest.mark.parametrize(
    "argv",
    [
        ["frob"],
        ["pin"],
        ["collect", "--budget", "much"],
        ["recall"],
        ["recall", "a", "--around", "b"],
        ["recall", "--query", "a", "--lines", "1-2"],
        ["recall", "--query", "a", "--raw"],
        ["recall", "a", "--lines", "two"],
        ["recall", "a", "--lines", "1-2", "--piece", "result"],
        ["call", "ping", "["],
        ["call", "ping", '{"a": NaN}'],
        ["call", "ping", '{"a": 1e999}'],
    ],
)
def test_arguments_that_make_no_sense_are_code_2(argv, daemon, run):
    assert run(daemon({}), *argv).code == 2


@pytest.mark.parametrize("argv", [["frob"], ["pin"], ["collect", "--budget", "-5"], ["search", "--since", "soon"]])
def test_arguments_that_make_no_sense_are_told_in_one_sentence_and_as_json(argv, daemon, run):
    said = run(daemon({}), *argv).err.splitlines()
    error = json.loads(run(daemon({}), *argv, "--json").out)["error"]

    assert len(said) == 2
    assert (error["kind"], f"ctxgc: {error['message']}") == ("usage", said[0])
    assert "_" not in said[0], "no name of the program's own functions"


def test_down_is_content_where_nothing_runs(run, tmp_path):
    ran = run(tmp_path / "none.sock", "down")

    assert (ran.code, ran.out) == (0, "ctxgcd is not running\n")


def test_down_waits_until_the_process_is_gone(daemon, run):
    child = subprocess.Popen([sys.executable, "-c", "input(); import time; time.sleep(0.1)"], stdin=subprocess.PIPE)
    canned = {"ping": {}, "stats": replies.STATS | {"pid": child.pid}}
    server = daemon(canned | {"shutdown": lambda params: child.stdin.close() or {}})

    ran = run(server, "down")

    assert (ran.code, ran.out) == (0, f"ctxgcd (pid {child.pid}) has stopped\n")
    assert child.poll() is not None


def test_a_doctor_that_finds_something_is_code_1(daemon, run):
    check = {"name": "socket", "ok": False, "detail": "is open to all", "hint": "chmod 0600 it"}
    server = daemon({"doctor": {"ok": False, "checks": [check]}})

    ran = run(server, "doctor")

    assert ran.code == 1
    assert "chmod 0600" in ran.out


def test_an_import_that_could_not_read_a_file_is_code_1(daemon, run):
    failed = {"path": "/x", "kind": "not_found", "error": "no such file", "hint": ""}
    server = daemon({"import": {"sessions": [], "failed": [failed], "bytes": 0, "seconds": 0.0, "changed": ""}})

    ran = run(server, "import", "/x")

    assert ran.code == 1
    assert "no such file" in ran.out


def test_an_import_that_found_no_session_says_so_and_counts_nothing(daemon, run):
    server = daemon({"import": {"sessions": [], "failed": [], "bytes": 40, "seconds": 0.1}})

    ran = run(server, "import", "a.jsonl", "--format", "codex")

    assert ran.out.startswith("no session in it")
    assert len(ran.out.splitlines()) == 1


def test_the_first_text_of_a_directory_opens_a_session_for_it(daemon, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    added = {"session": "client:here", "ids": ["other-1"], "changed": "admitted"}
    none = {"sessions": [], "next_offset": -1}
    opened = replies.SESSION | {"session": "client:here"}
    server = daemon({"segment.add": added, "session.list": none, "session.open": opened})

    run(server, "add", "remember this")

    assert server.params("session.open")["project"] == str(tmp_path)
    assert server.params("segment.add")["session"] == "client:here"


def test_text_is_added_from_standard_input(daemon, run, typed):
    server = daemon({"segment.add": {"session": "s", "ids": ["other-1"], "changed": "admitted"}})
    typed(b"from a pipe\n")

    run(server, "add", "--session", "s", "--kind", "user", "--tag", "a", "--tag", "b")

    segment = server.params("segment.add")["segment"]
    assert (segment["text"], segment["kind"], segment["tags"]) == ("from a pipe\n", "user", ["a", "b"])


def test_bytes_that_are_no_text_are_refused_before_they_are_sent(daemon, run, typed):
    server = daemon({})
    typed(b"\xff\xfe")

    ran = run(server, "add")

    assert (ran.code, server.calls) == (2, [])


def test_forget_asks_a_person_and_takes_silence_for_no(daemon, run, typed):
    server = daemon({"stash.forget": {"changed": "forgot"}})
    typed(b"\n", is_terminal=True)

    ran = run(server, "forget", "toolu_1")

    assert (ran.code, server.calls) == (1, [])


def test_forget_erases_nothing_where_it_can_ask_nobody(daemon, run, typed):
    server = daemon({"stash.forget": {"changed": "forgot"}})
    typed(b"y\n")

    ran = run(server, "forget", "toolu_1")

    assert (ran.code, server.calls) == (2, [])
    assert "--yes" in ran.err


def test_in_a_folder_that_is_gone_a_session_must_be_named(daemon, run, tmp_path, monkeypatch):
    server = daemon({"heap.why": replies.WHY})
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    ran = run(server, "why", "toolu_3")

    assert (ran.code, server.calls) == (1, [])
    assert "--session" in ran.err


@pytest.mark.parametrize(
    ("words", "method"),
    [
        (("recall", "--query", "x"), "stash.recall"),
        (("recall", "x"), "stash.recall"),
        (("rehydrate", "client:s"), "session.rehydrate"),
    ],
)
@pytest.mark.parametrize(
    ("text", "tokens"), [("200k", 200_000), ("200001", 200_000), ("1m", 200_000), ("900k", 200_000)]
)
def test_a_budget_above_the_greatest_frame_asks_for_the_greatest(words, method, text, tokens, daemon, run):
    server = daemon({method: Refusal("not_found", "no such thing")})

    run(server, *words, "--budget", text)

    assert server.params(method)["budget_tokens"] == tokens


@pytest.mark.parametrize(("text", "tokens"), [("40000", 40000), ("40k", 40000), ("1.5m", 1_500_000), ("40_000", 40000)])
def test_a_budget_is_read_as_people_write_it(text, tokens, daemon, run):
    server = daemon({"heap.collect": replies.PLAN})

    run(server, "collect", "--budget", text)

    assert server.params("heap.collect")["budget_tokens"] == tokens


@pytest.mark.slow
def test_a_reader_that_stops_reading_ends_the_command_quietly(daemon):
    server = daemon({"session.list": {"sessions": [replies.SESSION] * 5000, "next_offset": -1}})
    command = [sys.executable, "-m", "ctxgc.fronts.cli.main", "sessions", "--socket", server.path]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.close()
        err = child.stderr.read()

    assert err == b""


@pytest.mark.parametrize("name", ["status", "search", "collect", "recall", "show", "pin"])
def test_an_ordinary_command_loads_nothing_heavy(name, daemon):
    argv, canned = CASES[name]
    server = daemon(canned)
    code = f"import sys; from ctxgc.fronts.cli.main import main; main({[*argv, '--json', '--socket', server.path]!r})"
    # `-S` keeps out what the machine's site packages load for their own ends.
    command = [sys.executable, "-S", "-c", f"{code}; print(*sys.modules, file=sys.stderr)"]

    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)

    assert not HEAVY & set(done.stderr.split())


BEGIN = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}}
HOOK = {"hook_event_name": "PostToolUse", "session_id": "s", "cwd": "/p", "transcript_path": "/p/s.jsonl"}


@pytest.mark.parametrize(("argv", "given"), [(["mcp"], BEGIN), (["hook", "--agent", "claude"], HOOK)])
def test_what_an_agent_waits_for_loads_nothing_heavy(argv, given, daemon):
    server = daemon({"session.show": {"gateway": ""}, "watch.add": {"changed": ""}})
    code = f"import sys; from ctxgc.fronts.cli.main import main; main({[*argv, '--socket', server.path]!r})"
    command = [sys.executable, "-S", "-c", f"{code}; print(*sys.modules, file=sys.stderr)"]

    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, cwd=ROOT, check=True)

    assert not (HEAVY | {"urllib.parse", "unicodedata", "ctxgc.fronts.mcp.tools"}) & set(done.stderr.split())
    assert argv[0] != "mcp" or '"protocolVersion":"2025-06-18"' in done.stdout


def test_the_page_of_the_reference_is_current():
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()

    assert page == reference_page(), "run: python -m ctxgc.fronts.cli.reference > docs/reference/cli.md"


@pytest.mark.parametrize("shell", SHELLS_KNOWN)
def test_completions_know_every_command_and_option(shell):
    text = completion_script(shell)

    assert all(name in text for name in commands.command_names())
    assert "dry-run" in text


def test_bash_completes_commands_options_and_choices(tmp_path):
    (tmp_path / "completion").write_text(completion_script("bash"))
    ask = 'source completion; COMP_WORDS=({words}); COMP_CWORD={at}; _ctxgc; echo "${{COMPREPLY[@]}}"'

    def complete(*words):
        line = ask.format(words=" ".join(f"'{word}'" for word in words), at=len(words) - 1)
        return subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True).stdout.split()

    assert complete("ctxgc", "stat") == ["status"]
    assert complete("ctxgc", "collect", "--dry") == ["--dry-run"]
    assert "resident" in complete("ctxgc", "show", "--state", "")
    assert "fish" in complete("ctxgc", "completion", "")


def test_the_help_of_add_says_which_session_the_text_goes_into(capsys):
    from ctxgc.fronts.cli.main import main

    main(["add", "--help"])

    assert "default: the newest `client:` session" in " ".join(capsys.readouterr().out.split())


def test_help_is_help_and_no_command_is_a_usage_error(capsys):
    from ctxgc.fronts.cli.main import main

    assert main(["--help"]) == main(["help", "collect"]) == 0
    assert "collect" in capsys.readouterr().out
    assert main(["--json"]) == 2


def test_the_socket_comes_from_the_environment_where_no_flag_names_it(daemon, monkeypatch, capsys):
    from ctxgc.fronts.cli.main import main

    monkeypatch.setitem(os.environ, "CTXGC_SOCKET", daemon({"heap.why": replies.WHY}).path)

    assert main(["why", "toolu_3", "--no-spawn"]) == 0


@pytest.mark.parametrize(
    ("argv", "params"),
    [
        (["recall", "--query", "ferry"], {"query": "ferry", "cwd": os.getcwd()}),
        (["recall", "--query", "ferry", "--session", "s"], {"query": "ferry", "cwd": os.getcwd(), "session": "s"}),
        (["recall", "--query", "ferry", "--project", "/p"], {"query": "ferry", "cwd": os.getcwd(), "project": "/p"}),
        (["recall", "7-1", "--session", "s", "--lines", "40-80"], {"id": "7-1", "session": "s", "lines": "40-80"}),
        (["recall", "--around", "7-1", "--session", "s"], {"around": "7-1", "session": "s"}),
        (["recall", "7-1", "--session", "s", "--budget", "9"], {"id": "7-1", "session": "s", "budget_tokens": 9}),
    ],
)  # fmt: skip
def test_a_frame_is_printed_as_the_daemon_rendered_it_and_notes_go_beside_it(argv, params, daemon, run):
    server = daemon({"stash.recall": replies.FRAMED})

    ran = run(server, *argv)

    assert server.calls == [("stash.recall", params)]
    assert ran.out == replies.FRAMED["text"]
    assert ran.err.splitlines() == [*replies.FRAMED["notes"], replies.FRAMED["changed"], replies.FRAMED["next"]]


def test_a_working_set_is_printed_alone_and_what_the_host_dropped_is_offered_beside_it(daemon, run):
    server = daemon({"session.rehydrate": replies.WORKING_SET})

    ran = run(server, "rehydrate", "s1", "--budget", "1k")

    assert server.calls == [("session.rehydrate", {"session": "s1", "budget_tokens": 1000})]
    assert ran.out == replies.WORKING_SET["text"]
    assert "212 segments left" in ran.err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["call", "ping", '{"x":1e999}'], "not JSON"),
        (["call", "ping", '{"x":' + "[" * 3000 + "]" * 3000 + "}"], "nested too deeply"),
        (["search", "--kind", "foo"], "invalid choice: 'foo'"),
        (["search", "--state", "foo"], "invalid choice: 'foo'"),
        (["show", "--kind", "foo"], "invalid choice: 'foo'"),
        (["search", "x", "--limit", "0"], "no whole number above 0"),
        (["search", "x", "--limit=-1"], "no whole number above 0"),
        (["add", ""], "no text to add"),
        (["collect", "--limit=-3"], "'-3' is no whole number"),
        (["sessions", "--offset=-1"], "'-1' is no whole number"),
        (["search", "x", "--offset=-1"], "'-1' is no whole number"),
        (["undo", "x"], "'x' is no whole number above 0"),
        (["log", "0"], "'0' is no whole number above 0"),
    ],
)
def test_words_that_make_no_sense_are_refused_in_one_sentence(argv, says, daemon, run):
    ran = run(daemon({}), *argv)

    assert ran.code == 2
    assert says in ran.err
    assert "Traceback" not in ran.err


WORDS = ["version", "version --json", "", "help", "help show", "show --help", "--version", "nonsense --json"]
"""Of commands that print without a daemon, each on another way through the program."""


def redirected(words, redirect, **streams):
    command = f"{sys.executable} -m ctxgc.fronts.cli.main {words} {redirect}"
    return subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, cwd=ROOT, **streams)


@pytest.mark.parametrize(("redirect", "says"), [(">/dev/full", "No space left"), (">&-", "is closed")])
@pytest.mark.parametrize("words", WORDS)
def test_an_output_that_cannot_be_written_is_one_sentence(redirect, says, words):
    ran = redirected(words, redirect)

    assert ran.returncode == 1
    *before, last = ran.stderr.splitlines()
    assert says in last
    assert not before or "no command" in before[0]


@pytest.mark.parametrize("words", WORDS[:-1])
def test_a_reader_that_has_enough_is_told_nothing(words):
    reader, writer = os.pipe()
    os.close(reader)

    ran = redirected(words, "", stdout=writer)

    os.close(writer)
    assert (ran.returncode, ran.stderr) == (1, "")


def test_without_any_stream_to_speak_on_it_ends_by_its_code():
    assert redirected("nonsense", "2>&-", stdout=subprocess.DEVNULL).returncode == 2


def test_a_number_of_tokens_is_typed_alike_in_every_command(daemon, run):
    server = daemon({"stash.recall": replies.recalled(), "heap.collect": replies.PLAN})

    run(server, "recall", "--query", "x", "--budget", "4k")
    run(server, "collect", "--budget", "4k")

    assert [params["budget_tokens"] for _, params in server.calls] == [4000, 4000]


@pytest.mark.parametrize(
    ("argv", "query"),
    [
        (["-x"], "-x"),
        (["git", "--oneline"], "git --oneline"),
        (["cargo", "test", "--all-features", "--limit", "3"], "cargo test --all-features"),
        (["--limit=3", "a", "-rn"], "a -rn"),
    ],
)
def test_a_word_of_a_search_that_looks_like_an_option_and_is_none_is_a_word(argv, query, daemon, run):
    server = daemon({"stash.search": {"hits": [], "notes": [], "next_offset": -1}})

    assert run(server, "search", *argv).code == 0
    assert server.params("stash.search")["query"] == query


def test_a_search_puts_this_project_first_unless_it_is_everywhere_and_leaves_out_a_window_if_asked(daemon, run):
    canned = {"stash.search": {"hits": [replies.HIT], "notes": [], "next_offset": -1}}
    plain, everywhere, evicted = (daemon(canned) for _ in range(3))

    ran = run(plain, "search", "clock")
    run(everywhere, "search", "clock", "--everywhere")
    run(evicted, "search", "clock", "--evicted")

    assert plain.params("stash.search")["here"].startswith("/")
    assert "here" not in everywhere.params("stash.search")
    assert evicted.params("stash.search")["states"] == ["evicted", "departed"]
    assert "turn 0" in ran.out


@pytest.mark.parametrize("importance", ["nan", "inf", "-0.1", "1.1", "much"])
def test_an_importance_that_is_no_share_is_a_usage_error(daemon, run, importance):
    assert run(daemon({}), "add", "--importance", importance, "text").code == 2
