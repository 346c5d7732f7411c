"""Every law of the house (docs: design, invariants I1 to I15) is held by a test that cites it, or is listed as open.

A test cites a law in its name (`…_I8`, `test_i1_…`), its docstring or an assertion's message (`(I3)`).
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
}
OPEN: dict[str, str] = {}
"""Laws that no test can hold yet, and why: none is left."""

_IN_NAME = re.compile(r"(?:^|_)[iI](\d{1,2})(?=_|$)")
_IN_TEXT = re.compile(r"\bI(\d{1,2})\b")


def citations() -> dict[str, set[str]]:
    """For each law the tests, or files of tests, that cite it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(TESTS.rglob("*.py")):
        if path.name != Path(__file__).name:
            for where, numbers in _cited_in(ast.parse(path.read_text())):
                for number in numbers:
                    found[f"I{number}"].add(f"{path.relative_to(TESTS)}{where}")
    return found


def _cited_in(tree: ast.Module):
    yield "", _IN_TEXT.findall(ast.get_docstring(tree) or "")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            messages = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            told = " ".join(text for text in messages if isinstance(text, str))
            yield f"::{node.name}", _IN_NAME.findall(node.name) + _IN_TEXT.findall(told)


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


def test_what_is_open_says_why():
    assert all(len(reason) > 20 for reason in OPEN.values())
    assert set(OPEN) <= set(LAWS)


if __name__ == "__main__":
    table = citations()
    for name in LAWS:
        print(name, LAWS[name], *sorted(table[name]) or [f"open: {OPEN.get(name)}"], sep="\n    ")
