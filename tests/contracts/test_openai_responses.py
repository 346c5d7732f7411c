"""OpenAI Responses: what is edited, what is not, and which requests are left alone as a whole."""

import json

import pytest

from ctxgc.adapters.contract import INPUT_PIECE_CHARS_MIN, Slot, Tombstone
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Kind, Role, Status
from tests.contracts.wire_rules import check

WIRE = WIRE_FORMATS["openai_responses"]
GONE = Tombstone("gone", "[gone]")
LARGE = "x" * INPUT_PIECE_CHARS_MIN
USER = {"role": "user", "content": "light the lamp"}
SEALED = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "b2lsIGZpcnN0"}


def call(arguments="{}", call_id="c"):
    return {"type": "function_call", "id": "fc_1", "call_id": call_id, "name": "lamp", "arguments": arguments}


def output(value, call_id="c"):
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def parsed(*items, **members):
    return WIRE.parse(json.dumps(members | {"input": list(items)}).encode())


def evicted(request, *ids):
    data = request if isinstance(request, bytes) else json.dumps(request).encode()
    return WIRE.splice(data, WIRE.parse(data), dict.fromkeys(ids, GONE))


def test_only_an_evicted_outputs_bytes_change():
    head = b'{ "store":false ,"temperature":1.0e0, "input":[{"role":"user","content":"\\u00e9"},'
    head += b'{"type":"function_call","call_id":"a","name":"n","arguments":"{\\"q\\":1E3}"},'
    request = head + b'{"output" :\t"long","call_id":"a","type":"function_call_output"}\n] } '

    out = evicted(request, "a")

    assert out == request.replace(b'"long"', b'"gone"')


def test_an_output_that_was_a_list_of_parts_keeps_its_length():
    request = [USER, call(), output([{"type": "input_text", "text": "1"}, {"type": "input_text", "text": "2"}])]

    out = json.loads(evicted(request, "c"))

    assert out[2]["output"] == [{"type": "input_text", "text": "gone"}, {"type": "input_text", "text": "[gone]"}]


def test_a_custom_tools_free_text_is_marked_and_its_output_goes():
    custom = {"type": "custom_tool_call", "call_id": "p", "name": "apply_patch", "input": "*** Begin" + LARGE}
    request = [USER, custom, {"type": "custom_tool_call_output", "call_id": "p", "output": "long"}]

    out = json.loads(evicted(request, "p"))

    assert (out[1]["input"], out[2]["output"]) == ("[gone]", "gone")


def test_arguments_are_edited_inside_their_string():
    request = [USER, call('{ "n":1.0, "content":"' + LARGE + '" }'), output("ok")]

    out = json.loads(evicted(request, "c"))

    assert out[1]["arguments"] == '{ "n":1.0, "content":"[gone]" }'


def test_what_follows_sealed_reasoning_in_its_reply_is_never_edited_but_the_outputs_may_go():
    request = [USER, SEALED, call(json.dumps({"content": LARGE})), output("long"), call("{}", "d"), output("2", "d")]

    out = json.loads(evicted(request, "c", "d"))

    assert out[:3] == request[:3]
    assert [item["output"] for item in out if "output" in item] == ["gone", "gone"]


def test_a_pending_call_is_never_edited():
    request = [USER, call(json.dumps({"content": LARGE}))]

    with pytest.raises(ValueError, match="pending"):
        evicted(request, "c")


def test_calls_of_one_run_are_one_reply_and_the_next_run_is_the_next_turn():
    window = parsed(USER, SEALED, call("{}", "a"), call("{}", "b"), output("1", "a"), output("2", "b"), call("{}", "c"))

    calls = {one.id: (one.born_turn, one.status) for one in window.segments if one.kind is Kind.TOOL_CALL}

    assert calls == {"a": (0, Status.OK), "b": (0, Status.OK), "c": (1, Status.PENDING)}
    assert len({one.reply for one in window.segments if one.id in ("a", "b")}) == 1


def test_instructions_and_developers_are_system_and_a_bare_text_is_the_users():
    developer = {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be brief"}]}
    window = parsed(developer, instructions="you keep a lighthouse")
    bare = WIRE.parse(b'{"input":"hello"}')

    assert [(s.kind, s.role) for s in window.segments] == [(Kind.SYSTEM, Role.SYSTEM), (Kind.SYSTEM, Role.DEVELOPER)]
    assert [(s.kind, s.body[0].text) for s in bare.segments] == [(Kind.USER, "hello")]


def test_a_search_on_the_web_is_an_exchange_that_is_answered_and_holds_nothing():
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}

    window = parsed(USER, search, {"role": "assistant", "content": [{"type": "output_text", "text": "so"}]})

    assert [(s.id, s.status) for s in window.segments[1:2]] == [("ws_1", Status.OK)]
    assert "ws_1" not in window.spans


@pytest.mark.parametrize(
    "item",
    [
        {"role": "wizard", "content": "x"},
        {},
        7,
    ],
    ids=str,
)
def test_an_item_that_is_not_understood_leaves_the_whole_request_alone(item):
    with pytest.raises(BadTranscript):
        parsed(USER, item)


def test_the_bare_id_of_an_item_that_the_server_keeps_is_a_member_of_the_list():
    request = [USER, {"id": "msg_1"}, call("{}"), output("long")]

    out = json.loads(evicted(request, "c"))

    assert out == [*request[:3], request[3] | {"output": "gone"}]


OF_THE_MODEL = [
    *("shell_call", "apply_patch_call", "mcp_call", "mcp_list_tools", "mcp_approval_request", "code_interpreter_call"),
    *("file_search_call", "computer_call", "image_generation_call", "program", "item_reference", "invented_tomorrow"),
]
OF_THE_HOST = [
    *("shell_call_output", "apply_patch_call_output", "computer_call_output", "program_output"),
    *("mcp_approval_response", "invented_tomorrow_output"),
]


@pytest.mark.parametrize("kind", OF_THE_MODEL)
def test_an_item_that_is_not_edited_is_a_member_of_the_models_turn_and_all_around_it_may_go(kind):
    item = {"type": kind, "id": "i_1", "output": LARGE, "action": {"commands": ["make"]}}
    window = parsed(USER, call(), output(LARGE), call(call_id="d"), item, output(LARGE, "d"), USER)

    opaque = next(segment for segment in window.segments if segment.has_opaque)
    assert (opaque.kind, opaque.role) == (Kind.ASSISTANT, Role.ASSISTANT)
    assert opaque.id not in window.spans
    assert [segment.born_turn for segment in window.segments] == [0, 0, 1, 1, 2]
    assert {"c", "d"} <= window.spans.keys()


@pytest.mark.parametrize("kind", OF_THE_HOST)
def test_an_answer_that_is_not_edited_ends_the_models_turn_and_is_no_prompt(kind):
    item = {"type": kind, "call_id": "i_1", "output": LARGE}
    window = parsed(USER, {"type": "shell_call", "call_id": "i_1"}, item, call(), output(LARGE))

    assert [(s.kind, s.born_turn) for s in window.segments] == [
        (Kind.USER, 0), (Kind.ASSISTANT, 0), (Kind.ATTACHMENT, 1), (Kind.TOOL_CALL, 1),
    ]  # fmt: skip
    assert window.spans.keys() >= {"c"}


def test_a_list_with_items_that_are_not_edited_keeps_each_byte_of_them():
    items = [{"type": kind, "id": kind, "n": 1.0} for kind in (*OF_THE_MODEL, *OF_THE_HOST)]
    request = json.dumps({"input": [USER, *items, call(), output(LARGE), *items]}).encode()

    spliced = WIRE.splice(request, WIRE.parse(request), {"c": GONE})

    assert spliced == request.replace(LARGE.encode(), b"gone")


def test_what_follows_a_sealed_item_that_is_not_known_stays_whole():
    item = {"type": "invented_tomorrow", "encrypted_content": "x"}
    window = parsed(USER, item, call(json.dumps({"text": LARGE})), output(LARGE))

    assert {span.piece for span in window.spans["c"]} == {"result"}


@pytest.mark.parametrize("kind", ["compaction", "context_compaction", "compaction_summary"])
def test_a_summary_that_only_the_server_reads_stays_and_what_stands_behind_it_may_go(kind):
    window = parsed(USER, {"type": kind, "encrypted_content": "x"}, USER, call(), output(LARGE))

    summary = window.segments[1]
    assert (summary.kind, summary.has_opaque) == (Kind.SUMMARY, True)
    assert summary.id not in window.spans
    assert "c" in window.spans


def test_the_order_to_sum_up_is_no_part_of_the_window():
    with_order, without = (
        parsed(USER, call(), output(LARGE), {"type": "compaction_trigger"}),
        parsed(USER, call(), output(LARGE)),
    )

    assert with_order.segments == without.segments


@pytest.mark.parametrize("member", ["previous_response_id", "conversation", "prompt"])
def test_a_prompt_of_which_the_server_keeps_a_part_is_left_alone(member):
    assert parsed(USER, **{member: None}).segments

    with pytest.raises(BadTranscript):
        parsed(USER, **{member: "resp_1"})


def test_an_image_in_an_output_keeps_it_out_of_reach_and_renders_again():
    image = {"type": "input_image", "image_url": "data:image/png;base64,eA=="}
    window = parsed(USER, call(), output([{"type": "input_text", "text": "a lamp"}, image]))

    rendered = WIRE.render(map(Slot, window.segments))

    assert "c" not in window.spans
    assert json.loads(rendered)["input"][-1]["output"][1] == image
    check(WIRE.name, rendered)
