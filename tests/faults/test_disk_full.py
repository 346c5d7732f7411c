"""A disk that really runs full: a tiny tmpfs of our own, in a mount namespace that ends with the test."""

import json
import os
import shutil
import subprocess
import sys

import pytest

SCENE = """
import contextlib, json, os, time
from ctxgc.protocol.blocking_client import CallFailed
from tests.daemon.harness import DaemonProcess

home = DaemonProcess()
try:
    home.state.mkdir(mode=0o700)
    assert os.system(f"mount -t tmpfs -o size=6m,mode=0700 tmpfs {home.state}") == 0
    home.start()
    told = {"kept": [], "refused": []}
    filler = home.state / "filler"

    def add(client, n):
        text = " ".join(os.urandom(4).hex() for _ in range(3000))
        try:
            client.call("segment.add", {"segment": {"kind": "user", "id": f"s{n}", "text": text}})
            told["kept"].append((f"s{n}", text))
        except CallFailed as refused:
            told["refused"].append([refused.kind, refused.hint])

    with home.client() as client:
        client.call("session.open", {"session": "s"})
        for n in range(20):
            add(client, n)
        assert not told["refused"]
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        for n in range(20, 200):
            add(client, n)
            if len(told["refused"]) >= 3:
                break
        told["read_only"] = client.call("stats", {})["read_only"]
        for verb in ("export", "backup"):
            try:
                client.call(verb, {"path": str(home.state / "copy")})
            except CallFailed as refused:
                told[verb] = [refused.kind, refused.hint, (home.state / "copy").exists()]
        told["recalled"] = client.call("stash.recall", {"id": "s3"})["recalled"][0]["pieces"][0]["text"]
        filler.unlink()
        time.sleep(1.1)
        refused, kept = len(told["refused"]), len(told["kept"])
        add(client, 900)
        told["recovered"] = len(told["kept"]) == kept + 1
        told["refused"] = told["refused"][:refused]
    home.kill()
    home.start()
    with home.client() as client:
        for id_, text in told["kept"]:
            assert client.call("segment.get", {"id": id_})["pieces"][0]["text"] == text, id_
    assert home.stop() == 0
    assert home.run("--check")[0] == 0
    told["third"] = told["kept"][3][1]
    told["kept"] = len(told["kept"])
    print(json.dumps(told))
finally:
    home.kill()
    os.system(f"umount -l {home.state}")
    home.close()
"""


def may_mount():
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.root
def test_i1_on_a_full_disk_nothing_acknowledged_is_lost_and_writing_resumes_with_room():
    if not may_mount():
        pytest.skip("needs root and `unshare -m` to mount a small disk of its own")
    command = ["unshare", "-m", sys.executable, "-c", SCENE]

    done = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {kind for kind, _ in told["refused"]} == {"read_only"}
    assert all(hint for _, hint in told["refused"])
    assert "full" in told["read_only"]
    for verb in ("export", "backup"):
        kind, hint, has_left_a_file = told[verb]
        assert (kind, has_left_a_file) == ("storage", False), verb
        assert "free some space" in hint
    assert told["recalled"] == told["third"]
    assert told["recovered"]
    assert told["kept"] >= 21
