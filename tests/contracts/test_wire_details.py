"""Each way a rewriting gateway breaks clients, as far as a wire format can: one request, one expectation."""

import json

import pytest

from ctxgc.adapters.contract import INPUT_PIECE_CHARS_MIN, Slot, Tombstone
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.segment import Kind, Piece, Role, Segment, Status
from tests.contracts.conversations import WRITERS, Call, Turn
from tests.contracts.wire_rules import check

ANTHROPIC, OPENAI = WIRE_FORMATS["anthropic_messages"], WIRE_FORMATS["openai_chat"]
GONE = Tombstone("gone", "[gone]")
LARGE = "x" * INPUT_PIECE_CHARS_MIN
USER = {"role": "user", "content": "go"}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def use(call_id, **value):
    return {"type": "tool_use", "id": call_id, "name": "Write", "input": value}


def results(*pairs):
    blocks = [{"type": "tool_result", "tool_use_id": call_id, "content": content} for call_id, content in pairs]
    return {"role": "user", "content": blocks}


def call(arguments, call_id="c"):
    function = {"name": "write", "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def opaque(id_, kind, role, place, skeleton):
    data = json.dumps(skeleton).encode()
    return Segment(id=id_, kind=kind, role=role, place=place, born_turn=0, skeleton=data, has_opaque=True)


@pytest.mark.parametrize("wire", WIRE_FORMATS.values(), ids=WIRE_FORMATS)
@pytest.mark.parametrize("kind", [["text"], {}, 7, None, "zodiac"])
def test_a_block_with_any_type_is_rendered_or_left_out(wire, kind):
    """A client may put any JSON into a block that is no text."""
    block = {"type": kind, "text": "tide"}
    call = {"call_id": "c", "name": "look", "input": {}, "result_blocks": [None]}
    strange = [
        opaque("s1", Kind.USER, Role.USER, 1, {"opaque": [block]}),
        opaque("s2", Kind.ASSISTANT, Role.ASSISTANT, 2, {"opaque": [block]}),
        opaque("s3", Kind.TOOL_CALL, Role.ASSISTANT, 3, call | {"opaque": [block]}),
    ]

    assert isinstance(json.loads(wire.render([Slot(segment) for segment in strange])), dict | list)


def evicted(wire, request, *ids):
    data = request if isinstance(request, bytes) else json.dumps(request).encode()
    return wire.splice(data, wire.parse(data), dict.fromkeys(ids, GONE))


def test_number_formats_escapes_and_white_space_beside_an_evicted_result_survive():
    head = b'{ "temperature" : 1.0e0,"x":"\\u00e9","messages":[{"role":"user","content":"go"},'
    head += b'{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"n","input":{"q":1E3}}]},'
    request = head + b'{"role":"user","content":[{"content" :\t"long","tool_use_id":"a","type":"tool_result"}]}\n] } '

    out = evicted(ANTHROPIC, request, "a")

    assert out == request.replace(b'"long"', b'"gone"')


def test_a_list_of_result_blocks_keeps_its_length():
    request = [
        USER,
        assistant(use("a")),
        results(("a", [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}])),
    ]

    out = json.loads(evicted(ANTHROPIC, request, "a"))

    assert out[2]["content"][0]["content"] == [{"type": "text", "text": "gone"}, {"type": "text", "text": "[gone]"}]


def test_a_large_input_is_marked_and_its_short_neighbours_stay():
    request = [USER, assistant(use("a", path="/p", content=LARGE, edits=[{"new": LARGE}])), results(("a", "ok"))]

    out = json.loads(evicted(ANTHROPIC, request, "a"))

    assert out[1]["content"][0]["input"] == {"path": "/p", "content": "[gone]", "edits": [{"new": "[gone]"}]}
    assert out[2]["content"][0]["content"] == "gone"


def test_arguments_are_edited_inside_their_string_and_keep_order_and_numbers():
    arguments = '{ "n":1.0, "content":"' + LARGE + '",  "a":"\\u00e9" }'
    request = [USER, call(arguments), {"role": "tool", "tool_call_id": "c", "content": "ok"}]

    out = json.loads(evicted(OPENAI, request, "c"))

    assert out[1]["tool_calls"][0]["function"]["arguments"] == '{ "n":1.0, "content":"[gone]",  "a":"\\u00e9" }'


def test_arguments_that_are_not_json_are_one_text_and_become_json_when_they_go():
    request = [USER, call("{broken " + LARGE), {"role": "tool", "tool_call_id": "c", "content": "ok"}]

    out = json.loads(evicted(OPENAI, request, "c"))

    assert json.loads(out[1]["tool_calls"][0]["function"]["arguments"]) == {"input": "[gone]"}


@pytest.mark.parametrize("wire", [ANTHROPIC, OPENAI], ids=lambda wire: wire.name)
def test_a_pending_call_is_never_edited(wire):
    messages = [USER, assistant(use("a", content=LARGE)) if wire is ANTHROPIC else call(json.dumps({"c": LARGE}), "a")]
    data = json.dumps(messages).encode()

    window = wire.parse(data)

    assert window.segments[1].status is Status.PENDING
    with pytest.raises(ValueError, match="pending"):
        wire.splice(data, window, {"a": GONE})
    with pytest.raises(ValueError, match="pending"):
        wire.render([Slot(window.segments[1], GONE)])


def test_nothing_under_a_thinking_signature_is_edited_but_the_results_may_go():
    signed = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    request = [USER, assistant(signed, {"type": "text", "text": "so"}, use("a", content=LARGE)), results(("a", "long"))]
    data = json.dumps(request).encode()
    window = ANTHROPIC.parse(data)

    out = json.loads(evicted(ANTHROPIC, request, "a"))

    assert out[1] == request[1]
    assert out[2]["content"][0]["content"] == "gone"
    assert [segment.id in window.spans for segment in window.segments] == [True, False, False, True]


def test_what_is_not_text_keeps_its_segment_out_of_reach():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}
    messages = [
        {"role": "user", "content": [image]},
        assistant(use("a")),
        results(("a", [{"type": "text", "text": "t"}, image])),
    ]

    window = ANTHROPIC.parse(json.dumps(messages).encode())

    assert [segment.has_opaque for segment in window.segments] == [True, True]
    assert window.spans == {}
    assert json.loads(ANTHROPIC.render(map(Slot, window.segments)))["messages"][0] == messages[0]


def test_a_call_id_used_again_names_a_second_exchange_and_renders_as_a_fresh_one():
    turn = [USER, assistant(use("a")), results(("a", "1"))]

    segments = ANTHROPIC.parse(json.dumps(turn * 2).encode()).segments

    assert [segment.id for segment in segments if segment.kind is Kind.TOOL_CALL] == ["a", "a~2"]
    for wire in WIRE_FORMATS.values():
        check(wire.name, wire.render(map(Slot, segments)))


def test_parallel_calls_of_one_reply_are_one_message_and_their_results_the_next():
    segments = ANTHROPIC.parse(
        json.dumps([USER, assistant(use("a"), use("b")), results(("b", "2"), ("a", "1"))]).encode()
    ).segments

    messages = json.loads(ANTHROPIC.render(map(Slot, segments)))["messages"]
    chat = json.loads(OPENAI.render(map(Slot, segments)))["messages"]

    assert [block["id"] for block in messages[1]["content"]] == ["a", "b"]
    assert [block["content"] for block in messages[2]["content"]] == ["1", "2"]
    assert [message["role"] for message in chat] == ["user", "assistant", "tool", "tool"]


def test_a_result_without_a_call_is_a_text_of_its_own_that_no_edit_touches():
    request = [USER, results(("nobody", "x"))]

    window = ANTHROPIC.parse(json.dumps(request).encode())

    assert [segment.kind for segment in window.segments] == [Kind.USER, Kind.ATTACHMENT]
    assert window.segments[1].body[0].text == "x"
    assert window.segments[1].id not in window.spans
    assert not window.skipped


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_late_result_never_answers_a_call_of_an_older_reply_i3(name):
    lost = Turn(["go"], ["let me look"], "", "", [Call("a", "Read", {"path": "x"}, "1")])
    again = Turn(["go on"], ["once more"], "", "", [Call("a", "Read", {"path": "y"}, "2")])
    items = WRITERS[name]([lost, again])
    items = [item for item in items if '"1"' not in json.dumps(item)]

    segments = WIRE_FORMATS[name].parse(json.dumps(items).encode()).segments

    calls = [(segment.id, segment.status) for segment in segments if segment.kind is Kind.TOOL_CALL]
    assert calls == [("a", Status.PENDING), ("a~2", Status.OK)]


def test_a_legacy_function_call_is_an_exchange():
    legacy = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    request = [USER, legacy, {"role": "function", "name": "f", "content": "42"}]

    segment = OPENAI.parse(json.dumps(request).encode()).segments[1]

    assert (segment.tool, segment.body, segment.status) == ("f", (Piece("result", b"42"),), Status.OK)


def test_a_call_of_a_custom_tool_in_chat_has_its_name_and_its_free_text():
    def custom(call_id, text):
        return {"id": call_id, "type": "custom", "custom": {"name": "apply_patch", "input": text, "x": 1.0}}

    one, other = LARGE + "one", LARGE + "other"
    calls = {"role": "assistant", "content": None, "tool_calls": [custom("a", one), custom("b", other)]}
    answers = [{"role": "tool", "tool_call_id": name, "content": "Done!"} for name in ("a", "b")]
    request = json.dumps([USER, calls, *answers]).encode()

    window = OPENAI.parse(request)
    first, second = window.segments[1:]

    assert [(s.tool, s.body[0].text) for s in (first, second)] == [("apply_patch", one), ("apply_patch", other)]
    spliced = OPENAI.splice(request, window, {"b": GONE})
    answers[1]["content"] = "gone"
    calls["tool_calls"][1] = custom("b", "[gone]")
    assert spliced == json.dumps([USER, calls, *answers]).encode()


def test_system_text_stands_in_front_and_a_later_one_is_said_where_it_came():
    request = {
        "system": "a",
        "messages": [USER, {"role": "system", "content": "b"}, assistant({"type": "text", "text": "c"})],
    }
    segments = ANTHROPIC.parse(json.dumps(request).encode()).segments

    rendered = json.loads(ANTHROPIC.render(map(Slot, segments)))
    chat = json.loads(OPENAI.render(map(Slot, segments)))["messages"]

    assert rendered["system"] == [{"type": "text", "text": "a"}]
    assert [block["text"] for block in rendered["messages"][0]["content"]] == ["go", "b"]
    assert [message["role"] for message in chat] == ["system", "user", "system", "assistant"]


def test_a_window_that_starts_with_the_assistant_gets_the_user_message_the_api_wants():
    said = Segment(id="s", kind=Kind.ASSISTANT, role=Role.ASSISTANT, place=0, born_turn=0, body=(Piece("text", b"hi"),))

    messages = json.loads(ANTHROPIC.render([Slot(said)]))["messages"]

    assert [message["role"] for message in messages] == ["user", "assistant"]


def test_evicted_and_unsigned_thinking_is_left_out_and_signed_thinking_is_never_changed():
    def thought(signature, name):
        skeleton = json.dumps({"signature": signature} if signature else {}).encode()
        body = (Piece("thinking", b"hm"),)
        return Segment(
            id=name,
            kind=Kind.THINKING,
            role=Role.ASSISTANT,
            place=0,
            born_turn=0,
            skeleton=skeleton,
            body=body,
            reply="r",
        )

    said = Segment(
        id="s", kind=Kind.ASSISTANT, role=Role.ASSISTANT, place=1, born_turn=0, body=(Piece("text", b"hi"),), reply="r"
    )
    slots = [Slot(thought("sig", "1")), Slot(thought("", "2")), Slot(thought("sig", "3"), GONE), Slot(said)]

    blocks = json.loads(ANTHROPIC.render(slots))["messages"][1]["content"]

    assert blocks == [{"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "text", "text": "hi"}]


def test_nul_and_lone_surrogates_come_back_as_they_were_admitted():
    written = b'[{"role":"user","content":"a\\u0000b\\ud800c"}]'

    (segment,) = ANTHROPIC.parse(written).segments

    assert segment.body[0].text == "a\0b\ud800c"
    assert ANTHROPIC.parse(ANTHROPIC.render([Slot(segment)])).segments[0].body == segment.body
