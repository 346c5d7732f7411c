"""Every law of the house (docs: design, invariants I1 to I17) is held by a test that cites it, or is listed as open.

A test holds a law if its name cites it (`…_I8`, `test_i1_…`): a docstring, a helper or a comment runs nothing.
`python -m tests.core.test_invariants` prints the table: law, and the tests that hold it.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
LAWS = {
    "I1": "nothing acknowledged is lost",
    "I2": "roots are never evicted",
    "I3": "a call and its result live and leave together",
    "I4": "token sums are exact",
    "I5": "rendering keeps order; an untouched request leaves byte for byte",
    "I6": "a plan ends at its target or names what held it up",
    "I7": "a collection never grows the context",
    "I8": "collecting twice changes nothing",
    "I9": "recall returns exactly what was admitted",
    "I10": "same heap, budget and clock: same plan",
    "I11": "mark is reachability",
    "I12": "everything that grows has a bound",
    "I13": "an agent's request passes when daemon or gateway is late or gone",
    "I14": "between two collections rendering only appends",
    "I15": "two sessions share nothing",
    "I16": "a person's words and the standing instructions never leave a window",
    "I17": "one conversation, however it arrives, is the same rows",
}
OPEN: dict[str, str] = {}
"""Laws that no test can hold yet, and why: none is left."""

_CITED = re.compile(r"(?:^|_)[iI](\d{1,2})(?=_|$)")


def citations() -> dict[str, set[str]]:
    """For each law the tests that cite it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(TESTS.rglob("test_*.py")):
        for name in _tests_in(path.read_text()):
            for number in _CITED.findall(name):
                found[f"I{number}"].add(f"{path.relative_to(TESTS)}::{name}")
    return found


def _tests_in(source: str) -> list[str]:
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [function.name for function in functions if function.name.startswith("test_")]


@pytest.fixture(scope="module")
def cited() -> dict[str, set[str]]:
    return citations()


@pytest.mark.parametrize("law", LAWS)
def test_every_law_is_held_by_a_test_or_listed_as_open(law, cited):
    holders = cited[law]

    assert holders or law in OPEN, f"{law} ({LAWS[law]}): no test cites it, and it is not listed as open"
    assert not (holders and law in OPEN), f"{law} is listed as open, but {sorted(holders)[0]} cites it"


def test_no_test_cites_a_law_that_does_not_exist(cited):
    assert set(cited) <= set(LAWS)


def test_only_the_name_of_a_test_cites():
    source = '"""I3"""\ndef test_x():\n    """I4"""\n    assert True, "(I5)"\ndef helper_I6():\n    pass\n'

    assert _tests_in(source) == ["test_x"]
    assert not _CITED.findall("test_x")


def test_what_is_open_says_why():
    assert all(len(reason) > 20 for reason in OPEN.values())
    assert set(OPEN) <= set(LAWS)


if __name__ == "__main__":
    table = citations()
    for name in LAWS:
        print(name, LAWS[name], *sorted(table[name]) or [f"open: {OPEN.get(name)}"], sep="\n    ")
