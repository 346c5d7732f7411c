"""An agent that reads its log files, and sends its model nothing that the model needs no more.

Run: python examples/collecting_agent.py

`ask_model` stands for your provider's call; here a script answers, so that the example runs without a key.
"""

import ctxgc

ROUNDS = 30
session = ctxgc.Client(deadline_s=10).session("log-reader", model="claude-sonnet-4-5")
TOOLS = [
    {"name": "read_log", "description": "Read a log.", "input_schema": {"type": "object"}},
    session.tool("anthropic_messages"),
]


def ask_model(messages):
    """A reply in the shape of Anthropic's API: a log each round; at the end, what has left of the first log."""
    round_ = sum(message["role"] == "assistant" for message in messages)
    if round_ < ROUNDS:
        call = {
            "type": "tool_use",
            "id": f"call_{round_}",
            "name": "read_log",
            "input": {"path": f"/var/log/{round_ % 3}.log"},
        }
        return {"content": [call], "usage": {"input_tokens": sum(len(str(message)) for message in messages) // 3}}
    gone = str(messages).partition("get it back: ctxgc_recall ")[2].partition("]")[0]
    if round_ == ROUNDS and gone:
        call = {"type": "tool_use", "id": "back", "name": "ctxgc_recall", "input": {"id": gone}}
        return {"content": [call], "usage": {"input_tokens": 9000}}
    return {
        "content": [{"type": "text", "text": "The pump in hall 3 fails at night."}],
        "usage": {"input_tokens": 9000},
    }


def run_tool(call):
    """Your own tools; here logs that change between two reads."""
    return "".join(f"{call['id']} {n:04} pump {n % 7} in hall 3: pressure {n * 37 % 101}\n" for n in range(300))


messages = [{"role": "user", "content": "Which pump fails, and when?"}]
while True:
    collected = session.collect(messages, tools=TOOLS)
    if collected.left:
        print(
            f"{len(collected.left)} results left, {collected.plan.freed_tokens:,} tokens: {collected.left[0].name}, …"
        )
    reply = ask_model(collected.messages)
    session.usage(reply["usage"])
    messages.append({"role": "assistant", "content": reply["content"]})
    calls = [block for block in reply["content"] if block["type"] == "tool_use"]
    if not calls:
        break
    answers = [
        session.answer(call) or {"type": "tool_result", "tool_use_id": call["id"], "content": run_tool(call)}
        for call in calls
    ]
    messages.append({"role": "user", "content": answers})

print("recalled exactly:", messages[-2]["content"][0]["content"] == run_tool({"id": "call_0"}))
print(reply["content"][0]["text"])
