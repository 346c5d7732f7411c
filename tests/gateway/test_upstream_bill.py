"""The upstream of the other tests bills as the real ones do: by breakpoints, look-back, lives and least length."""

import json

import pytest

from tests.gateway.agent import ClaudeAgent
from tests.gateway.cached_prompt import prompt_of
from tests.gateway.stage import CLAUDE, MESSAGES, Stage
from tests.gateway.upstream import Upstream

ANTHROPIC, RESPONSES = "anthropic_messages", "openai_responses"
SHORT, LONG = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}


def asked(turns=6, point=SHORT, **more):
    """A request of an agent with breakpoints on its system prompt and its last block."""
    made = json.loads(ClaudeAgent().run(turns).body(**more))
    made["system"][-1]["cache_control"] = made["messages"][-1]["content"][-1]["cache_control"] = point
    return made


def billed(*requests, upstream=None, wire=ANTHROPIC):
    """What the last of these is billed."""
    upstream = upstream or Upstream()
    for made in requests:
        upstream._bill(wire, made, "s")
    return upstream.billed[-1]


def refused(made):
    try:
        Upstream()._check(ANTHROPIC, made, "s", json.dumps(made).encode())
    except AssertionError as fault:
        return str(fault)
    return ""


def test_what_the_request_before_held_is_read_and_what_is_new_is_written():
    before, after = billed(asked(6)), billed(asked(6), asked(7))

    assert after.read == before.written
    assert 0 < after.written < before.written
    assert after.plain == 0


def test_a_bare_string_and_one_text_block_are_the_same_prompt():
    made, bare = asked(), asked()
    made["messages"].insert(1, {"role": "system", "content": [{"type": "text", "text": "A reminder. " * 500}]})
    bare["messages"].insert(1, {"role": "system", "content": "A reminder. " * 500})

    assert billed(made, bare) == billed(made, made)


@pytest.mark.parametrize(("point", "life_s"), [(SHORT, 300.0), (LONG, 3600.0)])
def test_an_entry_lives_for_its_time_to_live_from_its_last_use_and_no_longer(point, life_s):
    upstream, made = Upstream(), asked(point=point)
    reads = []
    for gap_s in (0.0, life_s, life_s, life_s + 1.0):
        upstream.now_s += gap_s
        reads.append(billed(made, upstream=upstream).read)

    assert [read > 0 for read in reads] == [False, True, True, False]


def test_what_is_written_for_an_hour_costs_more_than_for_five_minutes():
    short, long = Upstream(), Upstream()
    billed(asked(point=SHORT), upstream=short)
    billed(asked(point=LONG), upstream=long)

    assert short.bills["s"].cost == pytest.approx(1.25 * short.bills["s"].written)
    assert long.bills["s"].cost == pytest.approx(2.0 * long.bills["s"].written)


def test_a_top_level_breakpoint_is_a_breakpoint_on_the_last_block_and_one_of_the_four():
    made = asked()
    del made["messages"][-1]["content"][-1]["cache_control"]
    above = made | {"cache_control": SHORT}
    full = asked() | {"cache_control": SHORT}
    for message in full["messages"][1:4:2]:
        message["content"][-1]["cache_control"] = SHORT

    assert prompt_of(ANTHROPIC, above) == prompt_of(ANTHROPIC, asked())
    assert "cache_control" in refused(full)
    assert not refused({key: value for key, value in full.items() if key != "cache_control"})


def test_a_long_life_behind_a_short_one_is_refused_in_the_order_of_the_prompt():
    made = asked(point=SHORT)
    made["system"][-1]["cache_control"] = LONG
    turned = asked(point=LONG)
    turned["system"][-1]["cache_control"] = SHORT
    # The bytes may put messages before the system prompt: that is not the order of the prompt.
    bytewise = {key: made[key] for key in ("model", "messages", "system", "tools")}

    assert not refused(made)
    assert not refused(bytewise)
    assert "longer life" in refused(turned)


@pytest.mark.parametrize("block", [{"type": "thinking", "thinking": "x"}, {"type": "text", "text": " "}])
def test_a_breakpoint_on_a_block_that_may_not_carry_one_is_refused(block):
    made = asked()
    made["messages"].append({"role": "user", "content": [block | {"cache_control": SHORT}]})

    with pytest.raises(AssertionError, match="cache_control"):
        prompt_of(ANTHROPIC, made)


@pytest.mark.parametrize(("model", "least"), [("claude-sonnet-4-5", 1024), ("claude-haiku-4-5", 4096)])
def test_a_prefix_below_the_least_length_of_its_model_is_not_cached(model, least):
    def one(tokens):
        words = [{"type": "text", "text": "x" * 4 * tokens, "cache_control": SHORT}]
        return {"model": model, "messages": [{"role": "user", "content": words}]}

    assert billed(one(least - 50), one(least - 50)).plain > 0
    assert billed(one(least + 50), one(least + 50)).read > least


def test_more_blocks_than_the_look_back_since_the_last_breakpoint_are_not_found():
    def one(count):
        blocks = [{"type": "text", "text": f"{number} " * 400} for number in range(count)]
        blocks[-1]["cache_control"] = SHORT
        return {"model": "m", "messages": [{"role": "user", "content": blocks}]}

    assert billed(one(30), one(49)).read > 0
    assert billed(one(30), one(50)).read == 0


def test_openai_reads_what_two_requests_share_in_steps_of_128_from_1024():
    def one(*texts):
        return {"model": "gpt-x", "input": [{"role": "user", "content": text} for text in texts]}

    short = billed(one("a" * 3000), one("a" * 3000), wire=RESPONSES)
    same = billed(one("a" * 5000, "b" * 9000), one("a" * 5000, "c" * 9000), wire=RESPONSES)

    assert short.read == 0
    assert same.read == 1152
    assert same.written == 0


def test_a_request_that_was_not_answered_with_200_leaves_no_entry():
    body = json.dumps(asked()).encode()
    with Stage(mode="off") as stage:
        stage.upstream.script = [529]
        overloaded = stage.send(MESSAGES, body, CLAUDE).status
        limited = stage.send(MESSAGES, body, CLAUDE | {"x-test": "limited"}).status
        answered = stage.send(MESSAGES, body, CLAUDE).status

        assert [overloaded, limited, answered] == [529, 429, 200]
        assert [bill.read for bill in stage.upstream.billed] == [0]
