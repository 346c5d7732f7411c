"""Paths out of commands: the lines a command shows, nothing it does not, and never an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.facts.patch_paths import files_of_patch, parse_script
from ctxgc.adapters.facts.shell_paths import PATHS_MAX, files_of_command, resolve_path
from ctxgc.adapters.facts.tool_facts import facts_of_call
from ctxgc.core.segment import LINE_MAX, Access, PathUse

R, W, E, M = Access.READ, Access.WRITE, Access.EDIT, Access.MENTION


@pytest.mark.parametrize(
    ("command", "uses"),
    [
        ("cat a.py", [("/w/a.py", R, 1, LINE_MAX)]),
        ("sed -n '10,40p' src/a.rs", [("/w/src/a.rs", R, 10, 40)]),
        ("sed -n 7p a.rs", [("/w/a.rs", R, 7, 7)]),
        ("sed -n '5,$p' a.rs", [("/w/a.rs", R, 5, LINE_MAX)]),
        ("sed -n 5,+3p a.rs", [("/w/a.rs", R, 5, 8)]),
        ("head -n 20 a.go", [("/w/a.go", R, 1, 20)]),
        ("head -5 a.go", [("/w/a.go", R, 1, 5)]),
        ("head a.go", [("/w/a.go", R, 1, 10)]),
        ("tail -20 a.go", [("/w/a.go", M, 1, LINE_MAX)]),
        ("nl -ba a.py | sed -n '5,9p'", [("/w/a.py", R, 5, 9)]),
        ("cat a.py | head -30 | grep x", [("/w/a.py", R, 1, 30)]),
        ("head -5 a.py | sed -n '10,20p'", [("/w/a.py", M, 1, LINE_MAX)]),
        ("rg -n 'fn main' src/a.rs lib", [("/w/src/a.rs", M, 1, LINE_MAX), ("/w/lib", M, 1, LINE_MAX)]),
        ("grep -rn -A 3 --include '*.go' word pkg/b.go", [("/w/pkg/b.go", M, 1, LINE_MAX)]),
        ("rg -e one -e two c.txt", [("/w/c.txt", M, 1, LINE_MAX)]),
        ("cat x.txt > y.txt 2>&1", [("/w/x.txt", R, 1, LINE_MAX), ("/w/y.txt", W, 1, LINE_MAX)]),
        ("make 2>/dev/null >> out.log", [("/w/out.log", W, 1, LINE_MAX)]),
        ("sed -i 's/a/b/' f.py", [("/w/f.py", E, 1, LINE_MAX)]),
        ("cp a.txt b.txt", [("/w/a.txt", R, 1, LINE_MAX), ("/w/b.txt", W, 1, LINE_MAX)]),
        ("cd sub && cat ../q.txt && cat r.txt", [("/w/q.txt", R, 1, LINE_MAX), ("/w/sub/r.txt", R, 1, LINE_MAX)]),
        ("git diff -- src/t.rs", [("/w/src/t.rs", M, 1, LINE_MAX)]),
        ("git show HEAD~1:src/z.rs", [("/w/src/z.rs", M, 1, LINE_MAX)]),
        ("git show origin/main:bin/run | head -5", [("/w/bin/run", M, 1, LINE_MAX)]),
        ("bash -lc 'cat inner.rs'", [("/w/inner.rs", R, 1, LINE_MAX)]),
        ("FOO=1 sudo cat m.txt", [("/w/m.txt", R, 1, LINE_MAX)]),
        ('cat "my dir/f.txt"', [("/w/my dir/f.txt", R, 1, LINE_MAX)]),
    ],
)
def test_a_command_touches_these_lines_of_these_files(command, uses):
    assert files_of_command(command, "/w").paths == tuple(PathUse(*use) for use in uses)


@pytest.mark.parametrize(
    "command",
    [
        "echo cat a.py",
        "cat $FILE",
        "cat *.py",
        "ls -la",
        "git log main..side",
        "cat 'a b'",
        "curl https://a.b/c.py",
        "",
    ],
)
def test_what_names_no_file_for_sure_names_none(command):
    assert files_of_command(command, "/w").paths == ()


def test_the_body_of_a_here_document_is_data():
    command = "cat <<'END' > new.py\nsed -n 1p trap.rs\ncat trap.py\nEND\ncat after.py"

    assert [use.path for use in files_of_command(command, "/w").paths] == ["/w/new.py", "/w/after.py"]


def test_a_patch_names_its_files_and_what_each_hunk_had_seen():
    touched = files_of_patch(
        "*** Begin Patch\n*** Update File: a/b.rs\n@@ fn\n ctx\n-old\n+new\n@@\n-gone\n"
        "*** Add File: n.rs\n+hi\n*** Delete File: d.rs\n*** End Patch",
        "/w",
    )

    assert [(use.path, use.access) for use in touched.paths] == [("/w/a/b.rs", E), ("/w/n.rs", W), ("/w/d.rs", E)]
    assert touched.edit_sources == ("ctx\nold", "gone")


def test_a_script_gives_its_commands_its_patches_and_where_they_run():
    script = parse_script(
        'const r = await tools.exec_command({cmd:"rg -n \\"x y\\" c.rs && cat a.rs","workdir":"/home/q"});'
        'const p = "*** Begin Patch\\n*** Update File: p.rs\\n*** End Patch"; text("some words");'
    )

    assert script.parts[0] == script.command == 'rg -n "x y" c.rs && cat a.rs'
    assert script.parts[1].startswith("*** Begin Patch\n")
    assert (len(script.parts), script.workdir) == (2, "/home/q")


def test_commands_listed_first_and_run_later_are_found():
    facts = facts_of_call(
        "exec", 'const cmds=["sed -n 1,5p a.rs","git diff -- b.rs"]; cmds.map(cmd => run({cmd}))', "/w"
    )

    assert facts.paths == (PathUse("/w/a.rs", R, 1, 5), PathUse("/w/b.rs", M))


def test_an_argument_vector_runs_its_last_word():
    facts = facts_of_call("shell", {"command": ["bash", "-lc", "cat a.rs"], "workdir": "sub"}, "/w")

    assert (facts.paths, facts.command) == ((PathUse("/w/sub/a.rs", R),), "cat a.rs")


def test_a_read_without_limit_reaches_the_end_only_if_its_result_is_short():
    facts = facts_of_call("Read", {"file_path": "/w/a.py", "offset": 11}, "/w")

    assert facts.with_result(b"x\n" * 50).paths == (PathUse("/w/a.py", R, 11, LINE_MAX),)
    assert facts.with_result(b"x\n" * 2000).paths == (PathUse("/w/a.py", R, 11, 2010),)


def test_every_step_of_an_edit_says_what_it_had_seen():
    edits = [{"old_string": "one", "new_string": "1"}, {"old_string": "two"}, {"old_string": ""}, 5]

    facts = facts_of_call("MultiEdit", {"file_path": "a.py", "edits": edits}, "/w")

    assert (facts.paths, facts.edit_sources) == ((PathUse("/w/a.py", E),), ("one", "two"))


def test_paths_of_a_command_are_bounded():
    command = " && ".join(f"cat f{number}.py" for number in range(500))

    assert len(files_of_command(command, "/w").paths) == PATHS_MAX


SHELLISH = st.text(alphabet="ab/.-_ '\"\\|&;<>()$\n0159,pn`{}*:=~é\0\ud800", max_size=120)
TEXTS = st.one_of(SHELLISH, st.lists(st.sampled_from(["cat", "sed", "-n", "'1,5p'", "<<E", "a.py", "|", "\n", "head"])))


@given(TEXTS)
def test_no_text_is_too_clever(text):
    command = text if isinstance(text, str) else " ".join(text)

    for tool, value in [("Bash", {"command": command}), ("exec", command), ("exec", f'run({{cmd:"{command}"}})')]:
        for use in facts_of_call(tool, value, "/w").paths:
            assert 1 <= use.first_line <= use.last_line <= LINE_MAX
            assert use.path.isprintable()


NAMES = st.text("abzAZ09_.- ü", min_size=1, max_size=6).filter(lambda name: name.strip(". ") == name)
WINDOWS_CWDS = ("C:\\w", "d:/w", "\\\\?\\C:\\w")


@given(drive=st.sampled_from("cDz"), names=st.lists(NAMES, min_size=1, max_size=4), cwd=st.sampled_from(WINDOWS_CWDS))
def test_a_windows_file_is_one_file_in_every_spelling(drive, names, cwd):
    back, forth = "\\".join(names), "/".join(names)
    spellings = [
        f"{drive}:\\{back}",
        f"{drive.swapcase()}:/{forth}",
        f"\\\\?\\{drive}:\\{back}",
        f"\\\\.\\{drive}:\\{back}",
        *(f"{mount}/{drive}/{forth}" for mount in ("", "/mnt", "/cygdrive")),
    ]

    assert len({resolve_path(path, cwd) for path in spellings}) == 1
    server, verbatim = f"\\\\srv\\{back}", f"\\\\?\\UNC\\srv\\{back}"
    assert resolve_path(verbatim, cwd) == resolve_path(server, cwd) != resolve_path(spellings[0], cwd)


@given(mount=st.sampled_from(["", "/mnt", "/cygdrive"]), drive=st.sampled_from("cD"), names=st.lists(NAMES, min_size=1))
@pytest.mark.parametrize("cwd", ["", "/w", "/mnt/c/w", "/c"])
def test_elsewhere_a_folder_of_one_letter_is_a_folder(mount, drive, names, cwd):
    path = f"{mount}/{drive}/{'/'.join(names)}"

    assert resolve_path(path, cwd).startswith(f"{mount}/{drive}/")


EDITED = "The file /w/a.py has been updated. Here's the result of running `cat -n` on a snippet of the edited file:\n"


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        (EDITED + "    41\tx = 1\n    42\ty = 2\n    43\t", (41, 43)),
        (EDITED + "    41→x = 1\n    42→y = 2", (41, 42)),
        (EDITED + "    41→x = 1\n    99→y = 2", (1, LINE_MAX)),
        (EDITED, (1, LINE_MAX)),
        ("The file /w/a.py has been updated successfully.", (1, LINE_MAX)),
    ],
)
def test_an_edit_holds_the_lines_that_its_result_shows(result, lines):
    facts = facts_of_call("Edit", {"file_path": "/w/a.py", "old_string": "x", "new_string": "x = 1"}, "/w")

    assert facts.with_result(result.encode()).paths == (PathUse("/w/a.py", Access.EDIT, *lines),)
