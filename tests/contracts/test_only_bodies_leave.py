"""Nothing but the text of an evicted body leaves a request: what stands beside it stays, and so does what is signed.

Requests are conversations as each API writes them, with members beside the texts that agents and servers are known to
add, and with signatures where servers put them. The trees of the request and of the edited request are walked side by
side.
"""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.contract import INPUT_PIECE_CHARS_MIN, Tombstone
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.segment import Kind
from tests.contracts.conversations import CONVERSATIONS, LIST_NAMES, WRITERS, odd_json

GONE = Tombstone("gone: ask for it", "[gone]")
LARGE = "x" * INPUT_PIECE_CHARS_MIN
TEXTS = ("text", "input_text", "output_text")
BESIDE = (
    {"cache_control": {"type": "ephemeral"}},
    {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
    {"citations": [{"type": "char_location", "cited_text": "w", "document_index": 0}]},
    {"annotations": [{"type": "url_citation", "title": "w", "url": "https://example.org"}], "logprobs": []},
    {"a member of tomorrow": {"text": "w", "n": [1e21, None]}},
)
CHAT_SIGNATURES = (
    {"reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "sig", "index": 0}]},
    {"reasoning_details": [{"type": "reasoning.encrypted", "data": "b2ls"}]},
    {"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]},
    {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}]},
    {"thinking_blocks": [{"type": "redacted_thinking", "data": "b2ls"}]},
    {"provider_specific_fields": {"thought_signatures": ["sig"]}},
    {"reasoning_opaque": "b2ls"},
)
CALL_SIGNATURES = (
    {"extra_content": {"google": {"thought_signature": "sig"}}},
    {"provider_specific_fields": {"thought_signature": "sig"}},
    {"thoughtSignature": "sig"},
)


def decorated(value, random):
    """The value with something beside each third text."""
    if isinstance(value, list):
        return [decorated(part, random) for part in value]
    if isinstance(value, dict) and value.get("type") in TEXTS:
        return value | (random.choice(BESIDE) if random.random() < 0.3 else {})
    content = {
        key: decorated(value[key], random) for key in ("content", "output") if isinstance(value, dict) and key in value
    }
    return value | content if isinstance(value, dict) else value


def split(messages, random):
    """Some messages of the assistant as two, which the APIs that join them take for one."""
    for message in messages:
        content = message.get("content")
        if message.get("role") != "assistant" or random.random() < 0.5:
            yield message
        elif "tool_calls" in message:
            yield {key: part for key, part in message.items() if key != "tool_calls"}
            yield {"role": "assistant", "content": None, "tool_calls": message["tool_calls"]}
        elif isinstance(content, list) and len(content) > 1 and message.get("type") != "message":
            at = random.randrange(1, len(content))
            yield message | {"content": content[:at]}
            yield message | {"content": content[at:]}
        else:
            yield message


def signed_chat(message, random):
    if message["role"] != "assistant" or random.random() < 0.5:
        return message
    calls = message.get("tool_calls")
    if not calls or random.random() < 0.7:
        return message | random.choice(CHAT_SIGNATURES)
    at = random.randrange(len(calls))
    signature = random.choice(CALL_SIGNATURES)
    signed = calls[at] | random.choice([signature, {"function": calls[at]["function"] | signature}])
    return message | {"tool_calls": [*calls[:at], signed, *calls[at + 1 :]]}


def runs(items):
    """The lists of what the model said without a word of others between."""
    run = []
    for item in items:
        is_models = item.get("role") == "assistant" or item.get("type") in (
            "reasoning",
            "function_call",
            "custom_tool_call",
        )
        if not is_models and run:
            yield run
            run = []
        run += [item] if is_models else []
    yield run


def is_signed(run):
    told = json.dumps(run)
    return any(
        f'"{name}": ' in told for name in ("thought_signature", "thought_signatures", "thoughtSignature")
    ) or any(
        f'"{name}": ' in told and f'"{name}": ""' not in told
        for name in ("signature", "reasoning_details", "thinking_blocks", "reasoning_opaque", "encrypted_content")
    )


@st.composite
def decorated_requests(draw, name):
    random = Random(draw(st.integers(0, 2**32)))
    items = WRITERS[name](draw(CONVERSATIONS))
    if name == "openai_chat":
        items = [signed_chat(message, random) for message in items]
    items = decorated(list(split(items, random)), random)
    request = draw(st.sampled_from([items, {"model": "m", LIST_NAMES.get(name, "messages"): items, "unknown": [1e3]}]))
    return odd_json(request, random).encode()


def differences(old, new, key=""):
    """(member, old value, new value) of each place where two trees differ; strings with JSON in them are trees too."""
    if isinstance(old, dict) and isinstance(new, dict) and list(old) == list(new):
        for name in old:
            yield from differences(old[name], new[name], name)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for before, after in zip(old, new, strict=True):
            yield from differences(before, after, key)
    elif key == "arguments" and old != new:
        yield from differences(json.loads(old), json.loads(new))
    elif old != new:
        yield key, old, new


def items_of(request):
    return request if isinstance(request, list) else request.get("messages", request.get("input"))


@pytest.mark.parametrize("wire", WIRE_FORMATS.values(), ids=lambda wire: wire.name)
@given(data=st.data())
def test_an_edited_request_differs_in_the_strings_of_evicted_bodies_alone_and_not_in_a_signed_turn(wire, data):
    request = data.draw(decorated_requests(wire.name))
    window = wire.parse(request)
    gone = data.draw(st.sets(st.sampled_from(sorted(window.spans)))) if window.spans else set()

    out = wire.splice(request, window, dict.fromkeys(gone, GONE))

    old, new = json.loads(request), json.loads(out)
    bodies = [piece.text for segment in window.segments if segment.id in gone for piece in segment.body]
    for _, before, after in differences(old, new):
        assert any(before in body for body in bodies)
        assert after in GONE
    for before, after in zip(runs(items_of(old)), runs(items_of(new)), strict=True):
        start = next((at for at, item in enumerate(before) if item.get("type") == "reasoning"), 0)
        if is_signed(before):
            assert after[start:] == before[start:]


@pytest.mark.parametrize("wire", WIRE_FORMATS.values(), ids=lambda wire: wire.name)
@given(data=st.data())
def test_every_result_can_go_whatever_stands_beside_it_and_whatever_its_turn_is_signed_with(wire, data):
    window = wire.parse(data.draw(decorated_requests(wire.name)))

    answered = [s for s in window.segments if s.kind is Kind.TOOL_CALL and s.body and s.body[-1].name == "result"]
    assert all(segment.id in window.spans for segment in answered if segment.body[-1].data)


def edited(name, *items):
    """The items of a request from which all that can go is gone."""
    data = json.dumps(items).encode()
    window = WIRE_FORMATS[name].parse(data)
    gone = [s.id for s in window.segments if s.id in window.spans and s.kind in (Kind.TOOL_CALL, Kind.THINKING)]
    return json.loads(WIRE_FORMATS[name].splice(data, window, dict.fromkeys(gone, GONE)))


def text(said, **beside):
    return {"type": "text", "text": said, **beside}


BREAKPOINT, HOUR = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
PARTS = [
    ([text("1", cache_control=BREAKPOINT)], [text(GONE.text, cache_control=BREAKPOINT)]),
    ([text("1"), text("2", cache_control=HOUR)], [text(GONE.text), text(GONE.marker, cache_control=HOUR)]),
    (
        [text("1", citations=[{"cited_text": "1"}]), text("")],
        [text(GONE.text, citations=[{"cited_text": "1"}]), text("")],
    ),
    ([{"x": 1e3, "text": "1", "type": "text"}], [{"x": 1e3, "text": GONE.text, "type": "text"}]),
]


@pytest.mark.parametrize(("parts", "left"), PARTS)
def test_a_breakpoint_beside_an_evicted_result_stays_in_every_api(parts, left):
    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "Bash", "input": {}}]}
    result = {"type": "tool_result", "tool_use_id": "a", "cache_control": BREAKPOINT}
    call = {"id": "a", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    function = {"type": "function_call", "call_id": "a", "name": "bash", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "a"}
    answer = {"role": "tool", "tool_call_id": "a"}

    anthropic = edited("anthropic_messages", use, {"role": "user", "content": [result | {"content": parts}]})
    chat = edited("openai_chat", said, answer | {"content": parts})
    responses = edited("openai_responses", function, output | {"output": as_input(parts)})

    assert anthropic[1]["content"] == [result | {"content": left}]
    assert chat[1] == answer | {"content": left}
    assert responses[1] == output | {"output": as_input(left)}


def as_input(parts):
    return [part | {"type": "input_text"} for part in parts]


def test_citations_and_a_breakpoint_beside_what_the_model_said_stay_when_its_text_goes():
    said = text("so", citations=[{"cited_text": "w"}], cache_control=BREAKPOINT)
    data = json.dumps([{"role": "assistant", "content": [said]}]).encode()

    for wire in (WIRE_FORMATS["anthropic_messages"], WIRE_FORMATS["openai_chat"]):
        window = wire.parse(data)
        out = json.loads(wire.splice(data, window, dict.fromkeys(window.spans, GONE)))
        assert out[0]["content"] == [said | {"text": GONE.text}]


CALL = {"id": "a", "type": "function", "function": {"name": "w", "arguments": json.dumps({"content": LARGE})}}
ANSWER = {"role": "tool", "tool_call_id": "a", "content": "long"}


@pytest.mark.parametrize("signature", CHAT_SIGNATURES, ids=json.dumps)
@pytest.mark.parametrize("thinking", ["reasoning", "reasoning_content"])
def test_a_chat_turn_under_a_signature_stays_and_its_results_may_go(signature, thinking):
    turn = {"role": "assistant", "content": "so", thinking: "hm", **signature, "tool_calls": [CALL]}

    assert edited("openai_chat", turn, ANSWER) == [turn, ANSWER | {"content": GONE.text}]


@pytest.mark.parametrize("signature", CALL_SIGNATURES, ids=json.dumps)
def test_a_chat_turn_whose_call_is_signed_stays(signature):
    for call in (CALL | signature, CALL | {"function": CALL["function"] | signature}):
        turn = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]}

        assert edited("openai_chat", turn, ANSWER) == [turn, ANSWER | {"content": GONE.text}]


def test_a_chat_turn_with_thinking_and_no_signature_goes_and_so_does_one_whose_signature_is_empty():
    for beside in (
        {},
        {"reasoning_details": []},
        {"thinking_blocks": None},
        {"provider_specific_fields": {"signature": ""}},
    ):
        turn = {"role": "assistant", "content": None, "reasoning_content": "hm", **beside, "tool_calls": [CALL]}

        out = edited("openai_chat", turn, ANSWER)

        assert (out[0]["reasoning_content"], out[1]["content"]) == (GONE.text, GONE.text)
        assert json.loads(out[0]["tool_calls"][0]["function"]["arguments"]) == {"content": GONE.marker}


USE = {"type": "tool_use", "id": "a", "name": "Write", "input": {"content": LARGE}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "long"}]}


@pytest.mark.parametrize(
    "signature", [*CALL_SIGNATURES, {"signature": "sig"}, {"encrypted_content": "b2ls"}], ids=json.dumps
)
def test_a_block_under_any_providers_signature_keeps_its_turn_at_anthropic(signature):
    thought = {"type": "thinking", "thinking": "hm"}
    for blocks in (
        [thought, USE | signature],
        [thought | signature, USE],
        [{"type": "text", "text": "so"} | signature, USE],
    ):
        turn = {"role": "assistant", "content": blocks}

        out = edited("anthropic_messages", turn, RESULT)

        assert out[0] == turn
        assert out[1]["content"][0]["content"] == GONE.text


@pytest.mark.parametrize(
    "signature", [*CALL_SIGNATURES, {"signature": "sig"}, {"encrypted_content": "b2ls"}], ids=json.dumps
)
def test_a_signed_item_keeps_itself_and_the_later_items_of_its_reply_over_responses(signature):
    call = {"type": "function_call", "call_id": "a", "name": "w", "arguments": json.dumps({"content": LARGE})}
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "so"} | signature]}
    answer = {"type": "function_call_output", "call_id": "a", "output": "long"}
    thought = {"type": "reasoning", "summary": []} | signature
    for reply in ([call | signature], [thought, call], [said, call]):
        assert edited("openai_responses", *reply, answer) == [*reply, answer | {"output": GONE.text}]


def test_a_signature_in_the_id_of_a_call_keeps_its_turn():
    call, answer = CALL | {"id": "call_1__thought__c2ln"}, ANSWER | {"tool_call_id": "call_1__thought__c2ln"}
    turn = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]}

    assert edited("openai_chat", turn, answer) == [turn, answer | {"content": GONE.text}]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_note_of_the_system_within_a_signed_turn_does_not_end_the_turn(role):
    note = {"role": role, "content": "be brief"}
    thought = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"}]}
    signed = {"role": "assistant", "content": "so", "reasoning_opaque": "b2ls"}
    use, call = {"role": "assistant", "content": [USE]}, {"role": "assistant", "content": None, "tool_calls": [CALL]}

    if role == "system":
        assert edited("anthropic_messages", thought, note, use, RESULT)[:3] == [thought, note, use]
    assert edited("openai_chat", signed, note, call, ANSWER)[:3] == [signed, note, call]


def test_members_that_a_model_or_a_page_named_sign_nothing():
    named = {"signature": "def f()", "encrypted_index": "b2ls", "content": LARGE}
    beside = {"citations": [{"type": "web_search_result_location", "encrypted_index": "b2ls"}]}
    turn = {"role": "assistant", "content": [{"type": "text", "text": "so"} | beside, USE | {"input": named}]}
    call = CALL | {"function": CALL["function"] | {"arguments": json.dumps(named)}}

    out = edited("anthropic_messages", turn, RESULT)
    chat = edited("openai_chat", {"role": "assistant", "content": None, "tool_calls": [call]}, ANSWER)

    assert out[0]["content"][1]["input"] == named | {"content": GONE.marker}
    assert json.loads(chat[0]["tool_calls"][0]["function"]["arguments"]) == named | {"content": GONE.marker}


@pytest.mark.parametrize("is_signed_first", [True, False])
def test_signed_thinking_covers_the_other_messages_of_its_run_and_not_those_behind_the_results(is_signed_first):
    thinking = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"}]}
    use = {"type": "tool_use", "id": "a", "name": "Write", "input": {"content": LARGE}}
    run = [thinking, {"role": "assistant", "content": [use]}][:: 1 if is_signed_first else -1]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "long"}]}
    later = {"role": "assistant", "content": [use | {"id": "b"}]}
    answer = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "b", "content": "long"}]}

    out = edited("anthropic_messages", *run, result, later, answer)

    assert out[:2] == run
    assert [out[at]["content"][0]["content"] for at in (2, 4)] == [GONE.text] * 2
    assert out[3]["content"][0]["input"] == {"content": GONE.marker}
