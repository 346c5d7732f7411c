"""The documentation is held to the code: nothing undocumented, nothing stale, every command in it runs."""

import ast
import asyncio
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

from ctxgc.adapters.transcripts.jsonl import LineTranscript
from ctxgc.adapters.transcripts.session_builder import SessionBuilder
from ctxgc.config import Config
from ctxgc.core.garbage import REASONS
from ctxgc.core.roots import ROOTS
from ctxgc.core.segment import Address, Kind, Role, Segment, State
from ctxgc.core.tombstone import tombstone_text
from ctxgc.fronts.cli import commands
from ctxgc.protocol.messages import VERBS
from docs import generate

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "perf" / "README.md"} - {*generate.SOURCES.iterdir()}
)
PACKAGE = ROOT / "ctxgc"
RUN_S = 60

INSTEAD = {
    "archive": "stash",
    "prune": "evict, collect",
    "trim": "evict, collect, or cut for a text",
    "exchange": "tool_call",
    "held": "protected",
    "mgr": "the noun of what it does: registry, pool, writer",
    "manager": "the noun of what it does: registry, pool, writer",
    "helper": "the verb that the function does",
    "util": "the verb that the function does",
}
"""Words that a name does not use, each with the glossary's word for the same idea.

A plain word of the trade (message, chunk, block, memory, handler) is no such word: a ban on it makes pronouns of nouns.
"""

OTHERS_WORDS = {
    ("gateway", "held"): "requests that wait for the daemon, and their bodies",
    ("protocol", "held"): "a deprecated field of two replies",
    ("stash", "held"): "a column, whose name no file changes",
}
"""(room, word): why it may stand in a name there."""

NO_NAMES = {
    *(
        "told",
        "said",
        "given",
        "found",
        "held",
        "kept",
        "known",
        "shown",
        "named",
        "joined",
        "copied",
        "proven",
        "apart",
    ),
    *("begins", "best", "billed", "departed", "expected", "forgotten", "nearest", "newest", "opened", "packed"),
    *("paired", "parsed", "ranked", "readable", "refused", "served", "shipped", "skipped", "sought", "spoken"),
    *("usual", "walked"),
    *("one", "still", "which", "what", "ours", "others", "thing", "stuff", "rest"),
}
"""Participles and pronouns that name nothing as a whole name of a module, a class or a function."""


# What there is, and what is said of it


def test_the_generated_pages_are_current():
    old = [name for name, text in generate.pages().items() if (generate.FOLDER / name).read_text() != text]

    assert not old, "run `make docs`"


def test_every_command_verb_setting_and_error_is_documented():
    said = {name: (generate.FOLDER / f"{name}.md").read_text() for name in ("cli", "protocol", "config", "errors")}

    assert not [name for name in commands.command_names() if f"### `ctxgc {name}`" not in said["cli"]]
    assert not [name for name in VERBS if f"### `{name}`" not in said["protocol"]]
    for name, section in Config.model_fields.items():
        part = said["config"].partition(f"## `[{name}]`")[2].partition("\n## ")[0]
        assert not [key for key in section.annotation.model_fields if f"| `{key}` |" not in part], name
    assert not [error.kind for error in generate.error_classes() if f"| `{error.kind}` |" not in said["errors"]]


def test_no_setting_is_without_a_word_of_meaning():
    for name, section in Config.model_fields.items():
        for key, field in section.annotation.model_fields.items():
            assert field.description, f"{name}.{key}"


def test_every_setting_is_read_by_a_process_that_serves():
    rooms = (PACKAGE / "daemon", PACKAGE / "gateway", PACKAGE / "fronts" / "mcp")
    text = "".join(path.read_text() for room in rooms for path in room.rglob("*.py"))

    keys = [key for section in Config.model_fields.values() for key in section.annotation.model_fields]
    assert not [key for key in keys if not re.search(rf"\.{key}\b", text)]


def test_every_reason_root_and_state_is_explained():
    collector = (ROOT / "docs" / "design" / "collector.md").read_text()
    glossary = (ROOT / "docs" / "reference" / "glossary.md").read_text()

    assert not [word for word in REASONS if f"| `{word}` |" not in collector]
    assert not [word for word in ROOTS[1:] if f"`{word}`" not in collector]
    assert not [state for state in State if f"**{state.value}**" not in glossary]


def test_every_table_of_the_stash_is_described():
    schema = (PACKAGE / "stash" / "schema.py").read_text()
    page = (ROOT / "docs" / "design" / "stash.md").read_text()

    tables = re.findall(r"CREATE (?:VIRTUAL )?TABLE (\w+)", schema)
    assert tables
    assert not [name for name in tables if not re.search(rf"^\| [^|]*`{name}`", page, re.M)]


def test_every_invariant_names_a_test_that_exists_or_says_that_it_is_open():
    page = (ROOT / "docs" / "design" / "architecture.md").read_text()
    rows = dict(re.findall(r"^\| (I\d+) \|.*\| (.*) \|$", page, re.M))

    assert list(rows) == [f"I{n}" for n in range(1, 18)]
    for number, evidence in rows.items():
        named = re.findall(r"`(\S+?)::(\w+)`", evidence)
        assert named or evidence.startswith("open: "), number
        assert not [name for path, name in named if f"def {name}(" not in (ROOT / path).read_text()], number
        assert not [name for _, name in named if f"_{number.lower()}_" not in f"{name.lower()}_"], number


def test_every_way_to_break_a_client_names_a_test_that_exists():
    page = (ROOT / "docs" / "design" / "gateway.md").read_text()
    rows = re.findall(r"^\|(.*)\|(.*)\|$", page.partition("## Ways to break a client\n")[2].partition("\n## ")[0], re.M)

    assert len(rows) > 18  # With the head of the table.
    for way, evidence in rows[2:]:
        named = re.findall(r"`(\S+?)::(\w+)`", evidence)
        assert named, way
        assert not [name for path, name in named if f"def {name}(" not in (ROOT / path).read_text()], way


# What the pages say


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        file, _, anchor = target.partition("#")
        assert not file.startswith(("http:", "https:", "/")), "a link that leaves the project may rot"
        there = page if not file else (page.parent / file).resolve()
        assert there.exists(), target
        assert not anchor or anchor in anchors(there.read_text()), target


def without_code(text):
    return re.sub(r"```.*?```", "", text, flags=re.S)


def anchors(text):
    """The anchors of a page's headings, as forges make them."""
    heads = re.findall(r"^#+ (.*)$", without_code(text), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def blocks(page, *languages):
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.M | re.S)
    return [text for language, text in found if language in languages]


def commands_shown(page):
    """Every call of `ctxgc` that a page shows, as words."""
    for block in blocks(page, "sh", "console"):
        for line in block.splitlines():
            if "$ " in line[:2] or block in blocks(page, "sh"):
                for part in re.split(r"&&|\||;", line.removeprefix("$ ")):
                    words = shlex.split(part, comments=True) if "'" not in part or part.count("'") % 2 == 0 else []
                    if words and words[0] == "ctxgc":
                        yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_shows_is_one_that_the_program_takes(page):
    for name, *arguments in commands_shown(page):
        parser = commands.build_parser(name, commands.load_command(name))
        assert parser.parse_args([word for word in arguments if word != "-"]), (name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_configuration_that_a_page_shows_is_valid(page):
    for block in blocks(page, "toml"):
        Config.model_validate(tomllib.loads(block))


def test_every_command_that_the_program_recommends_exists():
    known = {*commands.command_names(), "COMMAND", "help"}
    for path in PACKAGE.rglob("*.py"):
        for name in re.findall(r"`ctxgc ([\w-]+)", path.read_text()):
            assert name in known or name == "call", f"{path.name} recommends `ctxgc {name}`"


def test_what_a_tombstone_says_to_type_reaches_the_program_through_a_shell():
    segment = Segment(id="x", kind=Kind.TOOL_CALL, role=Role.ASSISTANT, place=0, born_turn=0, tool="Read")
    typed = tombstone_text(segment, Address(123456789, 12), 99).partition("get it back: ")[2].removesuffix("]")

    assert shlex.split(typed, comments=True) == ["ctxgc", "recall", "123456789-12"]


def test_the_pages_show_no_machine_and_no_host():
    for page in PAGES:  # The loopback is the same on every machine.
        assert not re.search(r"/(?:work|root|tmp)/|https?://(?!127\.0\.0\.1)", page.read_text()), page


def test_the_first_screen_says_what_shows_it_and_how_to_begin():
    screen = (ROOT / "README.md").read_text().split("\n## ")[0]

    assert len(screen.splitlines()) <= 40
    assert " % freed" in screen
    assert {"make run", "make test"} <= {line.split("#")[0].strip() for line in screen.splitlines()}
    assert len(re.findall(r"\]\(", screen)) == 3


def test_every_make_target_that_a_page_names_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in [*PAGES, ROOT / ".ci" / "run"]:
        for name in re.findall(r"(?:`|^|\s)make ([a-z]+)\b", "\n".join(blocks(page, "sh"))):
            assert name in targets, f"{page.name}: make {name}"


# Words


def names_in(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_no_name_in_the_code_uses_a_word_that_the_glossary_replaces():
    used = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in names_in(ast.parse(path.read_text())):
            words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
            used |= {(room, word): f"{path.relative_to(ROOT)}: {name}" for word in INSTEAD.keys() & singular(words)}

    instead = [
        f"{name}: say {INSTEAD[word]}" for (room, word), name in used.items() if (room, word) not in OTHERS_WORDS
    ]
    assert not instead
    assert not OTHERS_WORDS.keys() - used.keys(), "an exception that nothing needs any more"


def test_no_module_class_or_function_is_named_by_a_word_that_names_nothing():
    bare = [str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py") if path.stem in NO_NAMES]
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                bare += [f"{path.relative_to(ROOT)}: {node.name}"] if node.name.strip("_").lower() in NO_NAMES else []

    assert not bare, "a verb acts, a noun returns: say of what"


def test_a_class_name_has_one_home():
    homes = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name.strip("_"), []).append(str(path.relative_to(ROOT)))

    assert not {name: paths for name, paths in homes.items() if len(paths) > 1}


def test_every_function_in_a_diagram_of_a_module_exists():
    trees = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    fields = {node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}

    gone = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, tree in trees.items()
        for name in re.findall(r"─(\w+_\w+)(?:\([^)─]*\))?─", ast.get_docstring(tree) or "")
        if name not in functions | fields
    ]
    assert not gone


def singular(words):
    return words | {word.removesuffix("s") for word in words} | {word.removesuffix("ed") for word in words}


# What the pages show, run


class Reader:
    """Somebody who follows a page: a home, a socket and a working folder of their own."""

    def __init__(self):
        # Not pytest's tmp_path: a socket's path has at most 107 bytes.
        self.home = Path(tempfile.mkdtemp(prefix="ctxgc-docs-"))
        (self.home / "work").mkdir()
        (self.home / "work" / "ctxgc").symlink_to(PACKAGE)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CTXGC_", "XDG_"))}
        self.env = kept | {
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CTXGC_SOCKET": str(self.home / "run" / "s"),
            "NO_COLOR": "1",
        }

    def run(self, command, stdin=None):
        done = subprocess.run(
            command, input=stdin, shell=isinstance(command, str), cwd=self.home / "work", env=self.env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=RUN_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def close(self):
        self.run("ctxgc down")
        shutil.rmtree(self.home)


@pytest.fixture
def reader():
    made = Reader()
    yield made
    made.close()


def plain(text):
    """Output without what differs between machines and versions: numbers, widths, the length of bars."""
    text = re.sub(r"[█░]+", "█", re.sub(r"\d[\d,.]*", "0", text))
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def timeless(text):
    """Output without what differs between two runs on one version: times, process ids, widths."""
    text = re.sub(r"\d+ (s|min|h|d) ago", "0 s ago", re.sub(r"\(pid \d+\)", "(pid 0)", text))
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def shown(lines, plain=plain):
    """A pattern of the output that a page shows; `…` stands for anything, alone on a line for any lines."""
    return "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(plain(line)).replace("…", ".*") + r" ?\n" for line in lines
    )


def follow(reader, page, plain=plain):
    """Run every command of a page's console blocks, in order, and hold what it prints to what the page shows."""
    for block in blocks(page, "console"):
        for entry in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *lines = entry.rstrip("\n").split("\n")
            printed = plain(reader.run(command)) + "\n"
            more = r"(?:.*\n)*" if page.name == "README.md" else ""
            assert re.fullmatch(shown(lines, plain) + more, printed), f"$ {command}\n{printed}"


@pytest.mark.slow
def test_the_tutorial_works_as_written_to_the_last_number(reader):
    follow(reader, ROOT / "docs" / "tutorial.md", timeless)


@pytest.mark.slow
def test_the_collection_in_the_readme_is_a_real_one(reader):
    follow(reader, ROOT / "README.md")


@pytest.mark.slow
def test_the_commands_in_the_readme_run_on_a_session_of_the_readers_own(reader):
    project, log = reader.home / "src" / "my-project", reader.home / ".claude" / "projects" / "p" / "s.jsonl"
    for folder in (project, log.parent):
        folder.mkdir(parents=True)
    sample = (PACKAGE / "fronts" / "cli" / "sample" / "quayside.jsonl").read_text()
    log.write_text(sample.replace('"cwd":"/home/dev/quayside"', f'"cwd":"{project}"'))
    (script,) = (block for block in blocks(ROOT / "README.md", "sh") if "ctxgc import" in block)

    # What a reader puts there themselves: an error of their own, a segment of their own.
    own = script.replace("that error message", "berth path:bookings.py").replace("SEGMENT", "toolu_sample0005")

    assert own.count("\n") == script.count("\n")
    assert "toolu_sample0005" in reader.run("set -e\n" + own)


@pytest.mark.slow
def test_the_make_targets_that_the_readme_begins_with_run(reader):
    if not (ROOT / ".venv" / ".ready").exists():
        pytest.skip("NO .venv of this checkout: `make` would install one")
    (script,) = (block for block in blocks(ROOT / "README.md", "sh") if "make run" in block)
    targets = [line.split("#")[0].split()[1] for line in script.splitlines()]

    assert "freed" in reader.run(f"make -C {ROOT} --no-print-directory run")
    for target in targets:  # The tests are running: that they would be run is enough.
        assert "pytest" in reader.run(f"make -C {ROOT} -n {target}") or target == "run"


@pytest.mark.slow
def test_the_programs_in_the_how_to_run_and_print_what_it_shows(reader):
    page = ROOT / "docs" / "howto" / "use-it-from-your-own-agent.md"
    reader.run("ctxgc up")

    printed = [reader.run([sys.executable, "-"], stdin=program) for program in blocks(page, "python")]

    assert [plain(text) for text in printed] == [plain(blocks(page, "")[0]), plain("{'pong': True}")]


@pytest.mark.slow
def test_a_line_of_json_is_all_that_the_protocol_takes(reader):
    page = ROOT / "docs" / "howto" / "use-it-from-your-own-agent.md"
    (line,) = re.findall(r"^echo '(.*)' \|$", page.read_text(), re.M)
    reader.run("ctxgc up")

    answer = asyncio.run(asked(reader.env["CTXGC_SOCKET"], line))

    assert answer.startswith(b'{"jsonrpc":"2.0","id":1,"result":{"hits":')


async def asked(path, line):
    incoming, outgoing = await asyncio.open_unix_connection(path)
    outgoing.write(line.encode() + b"\n")
    answer = await incoming.readline()
    outgoing.close()
    return answer


@pytest.mark.slow
def test_the_queries_in_the_design_page_run_on_a_real_stash(reader):
    reader.run("ctxgc import ctxgc/fronts/cli/sample/quayside.jsonl && ctxgc collect --session 5a3d")
    (queries,) = blocks(ROOT / "docs" / "design" / "stash.md", "sql")
    file = reader.home / ".local" / "state" / "ctxgc" / "stash.sqlite3"

    with sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True) as stash:
        for query in queries.strip().removesuffix(";").split(";\n"):
            assert stash.execute(query).fetchall(), query


def test_the_page_on_adding_a_format_names_methods_that_exist():
    page = (ROOT / "docs" / "howto" / "add-a-format.md").read_text()
    called = set(re.findall(r"`([a-z_]+)\(", page))

    assert called > {"admit_text", "begin_call", "join_call_result"}
    assert not {name for name in called if not hasattr(SessionBuilder, name) and not hasattr(LineTranscript, name)}
