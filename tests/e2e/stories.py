"""What happens in a long session of each agent, as tests tell it: the words a person types, and what goes wrong.

begin ─ a message while a tool runs ─ sub-agents ─ a tool search ─ daemon killed ─ gateway killed
      ─ a pause ─ resumed ─ the host's compaction ─ resumed
"""

import json
from functools import partial

from tests.e2e.agent_model import SCRIPT, Call
from tests.e2e.agent_run import AGENTS, CHATGPT_LOGIN, CODEX_PROVIDER, QUIET_CLAUDE, Agent
from tests.e2e.codex_app import CodexApp
from tests.e2e.long_session import STAGE_S, Story
from tests.e2e.opencode_app import OpenCodeApp
from tests.e2e.scripted_model import SUBTASK

RULE = "RULE-4711: answer in the language of the harbour."
BEGIN, TYPED, RESUMED, AFTER = (
    "Read every part, one after the other (PROMPT-A).",
    "Warning: leave the migrations folder alone (PROMPT-B).",
    "Read on where you were (PROMPT-C).",
    "Read what is left (PROMPT-D).",
)
BEGUN = "begun"
SLOW = f"touch {BEGUN}; sleep 2; cat part002.txt"
"""A tool that says that it runs: then the user types."""
WORDS = (BEGIN, TYPED, RESUMED, AFTER)
"""What the user types, in order."""
SEARCH_STEP, TYPED_STEP, SUB_STEPS = 4, 8, (12, 14)
SUB_STEPS_LAST = 12
"""Steps in which a sub-agent is surely done."""
DAEMON_STEP, GATEWAY_STEP = 3, 6
"""Steps from the first edited request to the one in whose middle the process is killed."""
FIRST_TURNS, SECOND_TURNS, THIRD_TURNS = 50, 20, 30
SLOW_FIRST_TURNS, SLOW_SECOND_TURNS, SLOW_THIRD_TURNS = 42, 15, 25
"""OpenCode is three times slower than the others."""
PAUSE_S = 400.0
"""Longer than a cache of five minutes lives."""
LONG_PAUSE_S = 4000.0
FIRST_PARTY = {"ENABLE_TOOL_SEARCH": "true", "_CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL": "1"}
"""What `ctxgc run claude` sets before Anthropic's own address: the model of the tests stands for it."""
NOWHERE = "http://127.0.0.1:9"
"""For what an agent asks beside its model: no forged login leaves this machine."""
CLAUDE_LOGIN = {
    "claudeAiOauth": {
        "accessToken": "sk-ant-oat01-forged",
        "refreshToken": "sk-ant-ort01-forged",
        "expiresAt": 2**33 * 1000,
        "scopes": ["user:inference", "user:profile"],
        "subscriptionType": "max",
    }
}


def claude(is_newest, has_login):
    """Claude Code's session, with a key or a forged login."""
    variables = {name: value for name, value in QUIET_CLAUDE.items() if name != "ANTHROPIC_API_KEY" or not has_login}
    variables |= FIRST_PARTY
    files = {"work/CLAUDE.md": f"# Rules\n{RULE}\n"}
    if has_login:
        files[".claude/.credentials.json"] = json.dumps(CLAUDE_LOGIN)
    agent = Agent("claude", "claude_code", (), variables, ({"ANTHROPIC_BASE_URL": "$URL"}, ()))
    script = {TYPED_STEP: _slow_shell, SEARCH_STEP: _tool_search, **dict.fromkeys(SUB_STEPS, _claude_sub_agent)}
    pause_s = LONG_PAUSE_S if has_login else PAUSE_S
    return Story(agent, partial(_tell_claude, pause_s), is_newest, script, files)


def _tell_claude(pause_s, desk):
    quiet = ("-p", "--verbose", "--output-format", "stream-json", "--allowedTools", "Bash,Task,Agent,ToolSearch")
    desk.model.hooks = {DAEMON_STEP: desk.kill_daemon, GATEWAY_STEP: desk.kill_gateway}
    with desk.start(*quiet, "--input-format", "stream-json", turns=FIRST_TURNS) as agent:
        agent.stdin.write(_typed_line(BEGIN))
        agent.stdin.flush()
        desk.wait_for(BEGUN)
        agent.stdin.write(_typed_line(TYPED))
        agent.stdin.flush()
        for line in agent.stdout:
            if json.loads(line).get("type") == "result":
                break
        agent.stdin.close()
        agent.stdin = None
        agent.stdout.read()
        assert agent.wait(STAGE_S) == 0
    desk.pause(pause_s)
    desk.run(*quiet, "--continue", RESUMED, turns=SECOND_TURNS)
    desk.run(*quiet, "--continue", "/compact", turns=0)
    desk.run(*quiet, "--continue", AFTER, turns=THIRD_TURNS)


def _typed_line(text):
    return json.dumps({"type": "user", "message": {"role": "user", "content": [{"type": "text", "text": text}]}}) + "\n"


def _slow_shell(tools):
    return Call("", "Bash", {"command": SLOW, "description": "Show a part, slowly"})


def _tool_search(tools):
    return Call("", "ToolSearch", {"query": "select:WebFetch", "max_results": 3}) if "ToolSearch" in tools else None


def _claude_sub_agent(tools):
    name = next((name for name in ("Agent", "Task") if name in tools), None)
    given = {"description": "Look", "prompt": f"{SUBTASK}, then say what you saw.", "subagent_type": "general-purpose"}
    return name and Call("", name, given)


def codex(is_newest, has_login):
    """Codex's session, with a key or a forged ChatGPT login."""
    login = CHATGPT_LOGIN if has_login else {"OPENAI_API_KEY": "x", "auth_mode": "apikey"}
    straight = ("-c", 'model_provider="own"', "-c", CODEX_PROVIDER)
    agent = Agent("codex", "codex", (), {}, ({}, straight), login=login)
    script = {step: partial(_codex_sub_agent, step) for step in SUB_STEPS} | {TYPED_STEP: _slow_script}
    files = {"work/AGENTS.md": f"# Rules\n{RULE}\n", "codex/config.toml": f'chatgpt_base_url = "{NOWHERE}"\n'}
    return Story(agent, _tell_codex, is_newest, script, files)


def _tell_codex(desk):
    desk.model.unthinking = range(SUB_STEPS[0], SUB_STEPS[-1] + SUB_STEPS_LAST)
    desk.model.hooks = {DAEMON_STEP: desk.kill_daemon, GATEWAY_STEP: desk.kill_gateway}
    with desk.start("app-server", turns=FIRST_TURNS) as server:
        app = CodexApp(server, desk.folder)
        app.begin()
        app.type(BEGIN)
        desk.wait_for(BEGUN)
        app.type(TYPED)
        app.finish()
    desk.pause(PAUSE_S)
    free = "--dangerously-bypass-approvals-and-sandbox"
    desk.run("exec", "--skip-git-repo-check", free, "resume", app.thread, RESUMED, turns=SECOND_TURNS)
    with desk.start("app-server", turns=THIRD_TURNS) as server:
        again = CodexApp(server, desk.folder)
        again.begin(app.thread)
        again.compact()
        again.type(AFTER)
        again.finish()


def _slow_script(tools):
    return Call("", "exec", SCRIPT.format(command=SLOW))


def _codex_sub_agent(step, tools):
    given = {"message": f"{SUBTASK}, then say what you saw.", "task_name": f"look_{step}"}
    return Call("", "collaboration.spawn_agent", given) if "spawn_agent" in tools else None


def opencode(provider):
    """OpenCode's session, over the API of one provider."""
    agent = AGENTS[f"opencode_{provider}"]
    script = dict.fromkeys(SUB_STEPS, _opencode_sub_agent) | {TYPED_STEP: _slow_command}
    return Story(agent, partial(_tell_opencode, provider), False, script, {"work/AGENTS.md": f"# Rules\n{RULE}\n"})


def _tell_opencode(provider, desk):
    desk.model.unthinking = range(SLOW_FIRST_TURNS, SLOW_FIRST_TURNS + SLOW_SECOND_TURNS + 1)
    desk.model.hooks = {DAEMON_STEP: desk.kill_daemon, GATEWAY_STEP: desk.kill_gateway}
    with desk.start("serve", turns=SLOW_FIRST_TURNS) as server:
        app = OpenCodeApp(server)
        app.begin()
        app.type(BEGIN)
        desk.wait_for(BEGUN)
        app.type(TYPED)
        app.finish()
    desk.pause(PAUSE_S)
    desk.run("run", "--format", "json", "--session", app.session, RESUMED, turns=SLOW_SECOND_TURNS)
    with desk.start("serve", turns=SLOW_THIRD_TURNS) as server:
        again = OpenCodeApp(server)
        again.begin(app.session)
        again.compact(provider, "m")
        again.type(AFTER)
        again.finish()


def _slow_command(tools):
    return Call("", "bash", {"command": SLOW, "description": "Show a part, slowly"})


def _opencode_sub_agent(tools):
    given = {"description": "Look", "prompt": f"{SUBTASK}, then say what you saw.", "subagent_type": "general"}
    return Call("", "task", given)


STORIES = {
    "claude 2.1.197, key": claude(False, False),
    "claude 2.1.197, login": claude(False, True),
    "claude newest, key": claude(True, False),
    "claude newest, login": claude(True, True),
    "codex 0.169, key": codex(False, False),
    "codex 0.169, login": codex(False, True),
    "codex newest, key": codex(True, False),
    "codex newest, login": codex(True, True),
    "opencode, anthropic": opencode("anthropic"),
    "opencode, openai": opencode("openai"),
}
