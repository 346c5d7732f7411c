"""The glossary, the page on the collector, the protocol and `why` name the same verdicts and references as the code."""

import re
from pathlib import Path

from ctxgc.core.garbage import REASONS
from ctxgc.core.heap import KINDS
from ctxgc.core.liveness import CURRENT, LIVE, NAMED
from ctxgc.core.roots import ROOTS
from ctxgc.core.segment import NAMING_EDGES, SAID_EDGES, EdgeKind
from ctxgc.daemon.verbs.why import PROTECTIONS, ROOT_REASONS, VERDICTS
from docs import generate

ROOT = Path(__file__).parent.parent
GLOSSARY = (ROOT / "docs" / "reference" / "glossary.md").read_text()
COLLECTOR = (ROOT / "docs" / "design" / "collector.md").read_text()
LIVENESS = {"live": LIVE, "current": CURRENT, "named": NAMED}


def glossary_entry(word):
    (entry,) = re.findall(rf"^\*\*{word}\*\* — (.*?)\n\n", GLOSSARY, re.M | re.S)
    return entry


def table_rows(heading, column):
    """The rows of the first table below a heading of the collector's page, by the words of their first cell."""
    part = COLLECTOR.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = part.partition(f"| {column} |")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
    return {word.strip(" `"): row for row in rows for word in row[0].split(", ")}


def derived_kinds():
    """The kinds of reference that the code makes; the other kinds are only read from older stashes."""
    sources = "".join(path.read_text() for path in (ROOT / "ctxgc").rglob("*.py") if path.name != "segment.py")
    return {EdgeKind[name] for name in re.findall(r"EdgeKind\.([A-Z_]+)\b", sources)}


def test_the_glossary_names_every_kind_of_reference_and_no_other():
    made, _, older = glossary_entry("edge").partition("Stashes of older versions")

    assert set(re.findall(r"\*\*(\w+)\*\*", made)) == {kind.name.lower() for kind in derived_kinds()}
    assert set(re.findall(r"\*\*(\w+)\*\*", older)) == {kind.name.lower() for kind in set(EdgeKind) - derived_kinds()}


def test_the_collectors_page_names_every_kind_of_reference_and_who_follows_it():
    rows = table_rows("References", "reference")
    followed = {EdgeKind[name.replace(" ", "_").upper()]: row[2] for name, row in rows.items()}

    assert followed.keys() == derived_kinds()
    for kind, words in followed.items():
        assert words.startswith("by the mark") == (kind in SAID_EDGES), kind
        assert words.startswith("one hop") == (kind in NAMING_EDGES), kind


def test_pages_and_protocol_name_every_verdict_and_no_other():
    reply = re.search(r"^\| `verdict` \| `str` \| (.*) \|$", (generate.FOLDER / "protocol.md").read_text(), re.M)

    assert re.findall(r"`(\w+)`", reply[1]) == list(VERDICTS)
    assert re.findall(r"\*\*(\w+)\*\*", glossary_entry("verdict")) == list(VERDICTS)
    assert list(table_rows("What `why` says", "verdict")) == list(VERDICTS)


def test_the_collectors_page_names_every_liveness_root_and_proof_and_no_other():
    assert list(table_rows("Liveness", "liveness")) == list(LIVENESS)
    assert table_rows("Roots", "root").keys() == set(ROOTS[1:])
    assert list(table_rows("Proven garbage", "reason")) == list(REASONS)


def test_the_sentences_of_why_are_of_the_roots_and_protections_that_there_are():
    assert list(ROOT_REASONS) == list(ROOTS[1:])
    assert PROTECTIONS.keys() == {"opaque", "small"}
    assert not PROTECTIONS.keys() & {kind.value for kind in KINDS}
    assert LIVENESS.keys() < set(VERDICTS)
