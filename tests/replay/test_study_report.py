"""The report: its numbers against sums by hand, its intervals, and a page that shows no text of a session."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.pacing.provider_cache import OPENAI
from ctxgc.replay.demand import RESULTS, demand_of
from ctxgc.replay.policies import NoCollection
from ctxgc.replay.policy_registry import policies_of
from ctxgc.replay.profile import HeapProfile, heap_profile_of
from ctxgc.replay.recorded_files import read_recorded_file
from ctxgc.replay.script import script_of
from ctxgc.replay.session_cache import IDEAL
from ctxgc.replay.simulate import simulate_policy
from ctxgc.replay.statistics import Bootstrap, median
from ctxgc.replay.study import Study, run_study
from ctxgc.replay.study_report import report_of
from ctxgc.replay.tally import Tally
from ctxgc.replay.terms import StudyTerms
from ctxgc.replay.trial import SCOPES, Sums, TrialResult
from ctxgc.replay.why import explain_turn, find_session_episodes
from ctxgc.report.charts import dot_plot, share_bar_chart, window_chart
from ctxgc.report.replay_page import report_html
from tests.replay.made_sessions import claude_session

POLICY_KEYS = {
    "name", "cost_pct", "prompt_tokens_pct", "faults_per_100_turns", "explicit_faults_per_100_turns", "faults_vs_lru",
    "interval",
}  # fmt: skip
VOID_TAGS = {"meta"}
COUNTS = st.integers(0, 10**6)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    files = [str(claude_session(folder / f"{n}.jsonl", f"session-{n}", seed=n, names="hushhush")) for n in range(3)]
    return run_study(files, StudyTerms(), workers=1)


@pytest.fixture(scope="module")
def report(study):
    return report_of(study)


@pytest.fixture(scope="module")
def page(report):
    return report_html(report)


def result(session, *, source="claude_code", turns=100, **by_policy):
    """A session's result by hand: cost and faults of some policies; all others do as no collection does."""
    made = TrialResult(source, session, turns=turns, windows={"none": [1], "clear_100k_keep_3": [1], "ctxgc": [1]})
    for policy in policies_of(StudyTerms()):
        cost, faults = by_policy.get(policy.name, (100.0, 0))
        for scope in SCOPES:
            made.sums[scope, policy.name] = Sums(cost=cost, faults=faults, prompt_tokens=100)
        made.policy_us[policy.name] = (1.0, 2.0)
    made.bounds = dict.fromkeys(SCOPES, (40.0, 1))
    return made


def policy_of(report, agent, name):
    return next(row for row in report["agents"][agent]["policies"] if row["name"] == name)


def test_costs_are_ratios_of_sums_and_faults_are_per_turn():
    one = result("a", turns=50, ctxgc=(60.0, 1), lru=(130.0, 2))
    two = result("b", turns=150, none=(300.0, 0), ctxgc=(180.0, 3), lru=(300.0, 6))

    ours = policy_of(report_of(Study(StudyTerms(), [one, two])), "claude_code", "ctxgc")

    assert ours["cost_pct"] == 60.0
    assert ours["faults_per_100_turns"] == 2.0
    assert ours["faults_vs_lru"] == 0.5
    assert ours["worst_session_cost_pct"] == 60.0


def test_the_agent_called_all_sums_over_agents():
    sessions = [result("a", source="codex", ctxgc=(50.0, 1)), result("b", ctxgc=(90.0, 3))]

    report = report_of(Study(StudyTerms(), sessions))

    assert set(report["agents"]) == {"codex", "claude_code", "all"}
    assert policy_of(report, "all", "ctxgc")["cost_pct"] == 70.0
    assert report["agents"]["all"]["turns"] == 200


def test_two_sessions_are_too_few_for_an_interval():
    report = report_of(Study(StudyTerms(), [result("a"), result("b")]))

    assert policy_of(report, "all", "ctxgc")["interval"] is None


def test_the_report_has_the_promised_keys_and_survives_json(report):
    again = json.loads(json.dumps(report))

    assert again["profile"] == "cache_5m"
    assert set(again["agents"]) == {"claude_code", "all"}
    for agent in again["agents"].values():
        assert {"sessions", "turns", "placebo_precision", "policies"} <= set(agent)
        assert "ctxgc" in {row["name"] for row in agent["policies"]}
        assert all(set(row) >= POLICY_KEYS for row in agent["policies"])


def test_no_collection_costs_100_percent_everywhere(report):
    none = policy_of(report, "claude_code", "none")

    assert (none["cost_pct"], none["prompt_tokens_pct"], none["interval"]) == (100.0, 100.0, [100.0, 100.0])
    assert none["faults_per_100_turns"] == none["explicit_faults_per_100_turns"] == 0.0


def test_only_the_policies_asked_for_are_reported_beside_no_collection(study):
    chosen = Study(StudyTerms(policies=("gdsf",)), study.results)

    rows = report_of(chosen)["agents"]["all"]["policies"]

    assert [row["name"] for row in rows] == ["none", "gdsf"]


def test_the_largest_faults_come_first_and_say_when_they_went(report):
    faults = report["worst_faults"]

    assert all(a["size_tokens"] >= b["size_tokens"] for a, b in pairwise(faults))
    assert all(fault["born_turn"] <= fault["gone_turn"] <= fault["turn"] for fault in faults)
    assert all(fault["reason"] and fault["what"] for fault in faults)


@given(st.lists(st.tuples(COUNTS, st.integers(1, 10**6)), min_size=3, max_size=12))
def test_an_interval_lies_within_what_single_sessions_say(pairs):
    parts, wholes = zip(*pairs, strict=True)

    low, high = Bootstrap(len(pairs)).ratio_interval(parts, wholes)

    ratios = [part / whole for part, whole in pairs]
    assert min(ratios) - 1e-9 <= low <= high <= max(ratios) + 1e-9


def test_the_same_sessions_give_the_same_interval():
    parts, wholes = range(1, 21), [7.0] * 20

    assert Bootstrap(20).ratio_interval(parts, wholes) == Bootstrap(20).ratio_interval(parts, wholes)


def test_sessions_that_agree_leave_no_doubt():
    assert Bootstrap(5).ratio_interval([2.0] * 5, [4.0] * 5) == (0.5, 0.5)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_as_many_values_lie_below_the_median_as_above_it(values):
    middle = median(values)

    assert sum(value < middle for value in values) <= len(values) / 2
    assert sum(value > middle for value in values) <= len(values) / 2


class Resident(NoCollection):
    """No collection, and a sum of what is resident in each prompt."""

    total = 0

    def victims(self, run):
        self.total += run.heap.evictable_tokens
        return ()


def test_the_profile_accounts_for_every_token_turn(tmp_path):
    (episode,) = read_recorded_file(str(claude_session(tmp_path / "a.jsonl", "a"))).sessions["a"]
    script = script_of(episode, RESULTS, demand_of(episode, RESULTS))
    watch = Resident()

    simulate_policy(script, watch, StudyTerms().prices)
    profile = heap_profile_of(script)

    assert profile.total == watch.total
    assert min(profile) > 0, "some live, some drag, some void"


def test_profiles_add_up():
    assert HeapProfile(1, 2, 3) + HeapProfile(10, 20, 30) == HeapProfile(11, 22, 33)


def test_a_turn_that_faulted_is_explained_with_what_had_gone(study, report, tmp_path):
    fault = report["worst_faults"][0]
    number = int(fault["session"].rpartition("-")[2])
    path = claude_session(tmp_path / "x.jsonl", fault["session"], seed=number, names="hushhush")

    found = explain_turn(find_session_episodes([str(path)], fault["session"]), fault["turn"], StudyTerms())

    missing = [need for need in found["needs"] if need["missing"]]
    assert fault["size_tokens"] in {need["missing"]["size_tokens"] for need in missing}
    assert all("hushhush" in text for need in missing for text in need["wanted"])
    assert not any(need["in_window"] for need in missing)


def test_a_turn_that_is_not_there_is_not_explained(tmp_path):
    path = claude_session(tmp_path / "x.jsonl", "short", turns=3)

    assert explain_turn(find_session_episodes([str(path)], "short"), 99, StudyTerms()) is None
    assert find_session_episodes([str(path)], "other") == []


def test_the_page_shows_no_text_of_a_session(page):
    assert "ctxgc" in page
    assert "hushhush_" not in page


def test_the_page_fetches_nothing_and_runs_nothing(page):
    assert not re.search(r"https?:|//\w|<script|<link|@import|url\(|\son\w+=", page)
    assert "prefers-color-scheme" in page


def test_every_tag_of_the_page_is_closed(page):
    stack = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in VOID_TAGS:
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    Tags(convert_charrefs=True).feed(page.replace("<br>", ""))

    assert stack == []


def test_every_drawing_is_well_formed_and_inside_its_frame(page):
    drawings = re.findall(r"<svg.*?</svg>", page, re.S)

    assert len(drawings) >= 4
    for text in drawings:
        drawing = ElementTree.fromstring(text)
        _, _, width, height = map(float, drawing.get("viewBox").split())
        circles = drawing.iter("circle")
        assert all(0 <= float(dot.get("cx")) <= width and 0 <= float(dot.get("cy")) <= height for dot in circles)


def test_names_of_sessions_cannot_become_markup():
    evil = "<b onclick=x>&"
    report = report_of(Study(StudyTerms(), [result(evil, source=evil)]))

    page = report_html(report)

    assert "<b onclick" not in page
    assert "&lt;b onclick" in page


def test_the_smallest_report_has_a_page_too():
    empty = result("a", turns=0, none=(0.0, 0))

    assert "</html>" in report_html(report_of(Study(StudyTerms(), [empty])))
    for drawing in (dot_plot([], ""), window_chart({"none": []}, [], ""), share_bar_chart([], "")):
        ElementTree.fromstring(drawing)


def test_the_worst_turn_is_where_a_session_stood_worst_beside_none_once_its_first_turns_are_over():
    own, nothing = Sums(), Sums()
    nothing.add_tally(Tally(cost=100.0, costs=[float(cost) for cost in range(10, 101, 10)]))
    own.add_tally(Tally(cost=80.0, costs=[50.0, 50.0, 50.0, 50.0, 50.0, 60.0, 77.0, 79.0, 80.0, 80.0]))

    own.set_worst_turn_pct(nothing)

    assert own.worst_turn_pct == pytest.approx(110.0)


def test_costs_by_turn_run_on_through_a_session_that_compacts():
    own = Sums()
    for _ in range(2):
        own.add_tally(Tally(cost=30.0, costs=[10.0, 30.0]))

    assert own.costs == [10.0, 30.0, 40.0, 60.0]


def test_only_requests_of_ctxgc_carry_our_mark_and_only_if_asked():
    marked = {
        policy.name for policy in policies_of(StudyTerms()) if StudyTerms().cache_rules_of(policy.name).has_own_mark
    }

    assert "ctxgc" in marked
    assert not marked & {"none", "lru", "clear_100k_keep_3"}
    assert not StudyTerms(mark="none").cache_rules_of("ctxgc").has_own_mark
    assert StudyTerms(bill="ideal").cache_rules_of("ctxgc") == IDEAL
    assert StudyTerms("openai").cache_rules_of("ctxgc").provider is OPENAI
