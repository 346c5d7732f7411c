"""The TypeScript package: what is generated is current, the client works in Node, the packed form type-checks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clients import generate
from tests.daemon.harness import DaemonProcess

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "typescript"
TIMEOUT_S = 120

CONSUMER = """
import { Client, CallFailed, type Replies, type SegmentGet } from "ctxgc"
import type { Params } from "ctxgc/protocol"

const client = new Client({ startDaemon: false })
const asked: Params["segment.get"] = { session: "client:x", id: "y" } satisfies SegmentGet
const hits: Replies["stash.search"] = await client.call("stash.search", { query: "x", limit: 3 })
const first: string = hits.hits[0]?.session ?? ""
const { messages }: { messages: { role: string }[] } = await client.collect("x", [{ role: "user" }], {
  format: "openai_chat",
  budget: 5,
})
// @ts-expect-error a verb that does not exist
await client.call("no.verb")
// @ts-expect-error a param of another type
await client.call("stash.search", { limit: "three" })
// @ts-expect-error a required param is missing
const bad: Params["segment.get"] = {}
for await (const event of client.events(["session"])) console.log(event.topic, first, asked, messages, bad)
try {
} catch (error) {
  if (error instanceof CallFailed) console.log(error.kind satisfies string)
}
"""


@pytest.fixture
def node():
    node = shutil.which("node")
    if node is None:
        pytest.skip("NO node: the TypeScript client runs in Node")
    return node


def test_what_is_generated_from_the_protocol_is_current():
    assert not [path for path, text in generate.files().items() if path.read_text() != text], "run `make docs`"


def test_every_verb_has_its_params_and_its_reply():
    from ctxgc.protocol.messages import VERBS

    text = generate.TYPES.read_text()
    for method, verb in VERBS.items():
        assert f'  "{method}": {verb.params.__name__}\n' in text
        assert f'  "{method}": {verb.reply.__name__}\n' in text
        assert f"interface {verb.params.__name__} {{" in text
        assert f"{verb.reply.__name__} " in text


def test_the_plugin_has_the_connection_as_it_is():
    block = generate.CONNECTION.read_text().partition(generate.BEGINS)[2].partition(generate.ENDS)[0]

    assert "class Link" in block
    assert block.replace("export ", "") in generate.PLUGIN.read_text()


@pytest.mark.npm
@pytest.mark.slow
def test_the_client_does_in_node_what_its_tests_say(node, tmp_path):
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "ctxgc").symlink_to(PACKAGE)
    shutil.copy(PACKAGE / "test" / "client.test.js", tmp_path / "client.test.mjs")
    daemon = DaemonProcess().start()
    try:
        env = daemon.env | {"CTXGC_PID": str(daemon.child.pid), "PATH": os.environ["PATH"]}
        command = [node, "--preserve-symlinks", "--test", "client.test.mjs"]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
    finally:
        daemon.close()
    assert done.returncode == 0, done.stdout[-4000:]
    assert "# pass 6" in done.stdout
    assert "# skipped 0" in done.stdout


@pytest.mark.npm
@pytest.mark.slow
def test_the_client_starts_the_daemon_where_none_listens(node, tmp_path):
    command = tmp_path / "ctxgc"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m ctxgc.fronts.cli.main "$@"\n')
    command.chmod(0o700)
    daemon = DaemonProcess()
    script = (
        f'import {{ Client }} from "{PACKAGE / "src" / "index.js"}"\n'
        f'const client = new Client({{ command: "{command}" }})\n'
        'console.log((await client.call("ping")).pong)\nclient.close()\n'
    )
    try:
        done = subprocess.run(
            [node, "--input-type=module", "-e", script], env=daemon.env, capture_output=True, text=True, timeout=60
        )
        assert done.stdout == "true\n", done.stderr
        daemon.call("shutdown")
    finally:
        daemon.close()


@pytest.mark.npm
@pytest.mark.slow
def test_the_packed_form_installs_and_type_checks_in_strict_mode(node, tmp_path):
    tools = os.environ.get("CTXGC_TYPESCRIPT", "")
    if not tools or shutil.which("npm") is None:
        pytest.skip("NO TypeScript: CTXGC_TYPESCRIPT names no folder with it; `.ci/run` installs one")
    packed = subprocess.run(
        ["npm", "pack", "--json", "--pack-destination", str(tmp_path)],
        cwd=PACKAGE, capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    (form,) = json.loads(packed.stdout)
    names = {file["path"] for file in form["files"]}
    assert names == {
        *("package.json", "README.md", "src/index.js", "src/index.d.ts", "src/connection.js", "src/protocol.d.ts")
    }
    modules = tmp_path / "node_modules" / "ctxgc"
    modules.mkdir(parents=True)
    shutil.unpack_archive(tmp_path / form["filename"], tmp_path / "unpacked")
    shutil.copytree(tmp_path / "unpacked" / "package", modules, dirs_exist_ok=True)
    (tmp_path / "consumer.mts").write_text(CONSUMER)
    tsc = Path(tools) / "node_modules" / "typescript" / "bin" / "tsc"
    flags = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2022", "--skipLibCheck", "false"]
    types = ["--typeRoots", str(Path(tools) / "node_modules" / "@types"), "--types", "node"]

    done = subprocess.run(
        [node, str(tsc), *flags, *types, "consumer.mts"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )

    assert done.returncode == 0, done.stdout
