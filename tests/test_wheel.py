"""The wheel: what an installation without a checkout has."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHIPPED = {
    "ctxgc/data/opencode/ctxgc.ts": "agents/opencode/ctxgc.ts",
    "ctxgc/data/opencode/ctxgc/notes.ts": "agents/opencode/ctxgc/notes.ts",
    "ctxgc/data/systemd/ctxgcd.socket": "systemd/ctxgcd.socket",
    "ctxgc/data/systemd/ctxgcd.service": "systemd/ctxgcd.service",
    "ctxgc/data/systemd/ctxgc-gateway.service": "systemd/ctxgc-gateway.service",
}
LOOK = """
from ctxgc.fronts.setup.packaged import PLUGIN, PLUGIN_NOTES, UNITS, packaged_text
import ctxgc
print(ctxgc.__file__, *[len(packaged_text(name)) for name in (PLUGIN, PLUGIN_NOTES, *UNITS)])
"""


def test_the_wheel_carries_plugin_and_units_and_the_code_finds_them_there(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        texts = {name: opened.read(name).decode() for name in SHIPPED}
        opened.extractall(tmp_path / "site")

    assert texts == {name: (ROOT / source).read_text() for name, source in SHIPPED.items()}
    looked = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    place, *sizes = looked.stdout.split()
    assert place.startswith(str(tmp_path / "site"))
    assert sizes == [str(len(texts[name])) for name in SHIPPED]
