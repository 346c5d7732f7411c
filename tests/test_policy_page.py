"""The page on the policy says what its evidence says, and the evidence is of what ships."""

import json
from dataclasses import asdict

from ctxgc.core.reuse import SHIPPED
from perf import policy_page
from perf.policy_words import page


def evidence():
    return json.loads(policy_page.EVIDENCE.read_text())


def test_the_page_is_written_from_its_evidence():
    assert policy_page.PAGE.read_text() == page(evidence())


def test_every_drawing_of_the_page_is_beside_it_and_opens_no_connection():
    drawn = {f"policy-{name}.svg" for name in (*policy_page.PROFILES, "weights")}
    named = {part.partition(")")[0] for part in policy_page.PAGE.read_text().split("](")[1:]}

    assert drawn <= named
    for name in drawn:
        drawing = policy_page.PAGE.with_name(name).read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "http" not in drawing


def test_the_weights_that_ship_are_those_the_evidence_was_fitted_to():
    assert evidence()["weights"] == asdict(SHIPPED)


def test_the_evidence_names_no_session_and_no_file():
    told = json.dumps(evidence())

    assert "/" not in told
    assert not any(len(word) > 32 for word in told.replace('"', " ").replace(",", " ").split())
