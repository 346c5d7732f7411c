"""`ctxgc install` and `uninstall`: an agent's settings get ours, keep all else, and become what they were."""

import json
import os
import plistlib
import shutil
import tomllib
from pathlib import Path

import pytest

from ctxgc.fronts.cli.main import main
from ctxgc.fronts.setup import services
from ctxgc.fronts.setup.agent_tools import EVENTS
from ctxgc.fronts.setup.packaged import PLUGIN, PLUGIN_NOTES, packaged_text
from ctxgc.fronts.setup.services import ctxgc_command
from ctxgc.gateway.secret import SECRET_FILE
from ctxgc.protocol.secret_file import read_secret

SETTINGS = """{
  // the company's
  "model": "opus",
  "env": {
    "FOO": "1" /* keep */
  },
  "permissions": {"allow": ["Bash(ls:*)",]},
}
"""
TOML = '# mine\nmodel = "gpt-5"  # fast\n\n[tui]\ntheme = "dark"\n'
OPENCODE = '{"theme": "x", "provider": {"openai": {"options": {"apiKey": "k"}}}}'


class Manager:
    """A service manager that remembers what it was told."""

    def __init__(self, codes=()):
        self.commands = []
        self.codes = dict(codes)

    def __call__(self, command):
        self.commands.append(list(command))
        words = " ".join(command)
        return next(((code, "no") for part, code in self.codes.items() if part in words), (0, ""))


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in [
        n for n in os.environ if n.startswith(("CTXGC_", "ANTHROPIC_", "OPENAI_", "OPENCODE_", "CLAUDE_", "XDG_"))
    ]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CODEX_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder, name, text in (
        (".claude", "settings.json", SETTINGS),
        (".codex", "config.toml", TOML),
        (".config/opencode", "opencode.json", OPENCODE),
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).write_text(text)
    return tmp_path


@pytest.fixture
def manager(home, monkeypatch):
    made = Manager({"is-active": 3})
    made.system = "linux"
    monkeypatch.setattr(
        services,
        "current_host",
        lambda: services.Host(made.system, os.environ, 501, made, lambda name: f"/opt/my tools/{name}"),
    )
    return made


@pytest.fixture
def run(manager, capfd):
    def run_command(*argv):
        code = main([*argv, *(["--yes"] if argv[0] in ("install", "uninstall") else [])])
        return code, capfd.readouterr()

    return run_command


def files(home):
    """Every file of the user's but the gateway's secret, which is ctxgc's own."""
    found = (path for path in sorted(home.rglob("*")) if path.is_file() and path.name != SECRET_FILE)
    return {str(path.relative_to(home)): path.read_bytes() for path in found}


def base_url(home):
    return f"http://127.0.0.1:8787/k/{read_secret(str(home / '.local' / 'state' / 'ctxgc'), SECRET_FILE)}"


FILES = {"claude": ".claude/settings.json", "codex": ".codex/config.toml", "opencode": ".config/opencode/opencode.json"}


@pytest.mark.parametrize("agent", FILES)
def test_what_is_installed_and_uninstalled_leaves_every_file_as_it_was(agent, run, home):
    before = files(home)

    assert run("install", agent)[0] == 0
    installed = files(home)
    assert installed[FILES[agent]] != before[FILES[agent]]
    assert run("uninstall", agent)[0] == 0

    assert files(home) == before


@pytest.mark.parametrize("agent", FILES)
def test_to_install_twice_is_to_install_once(agent, run, home):
    before = files(home)
    run("install", agent)
    once = files(home)

    assert run("install", agent)[0] == 0

    assert {name: text for name, text in files(home).items() if "state" not in name} == {
        name: text for name, text in once.items() if "state" not in name
    }
    run("uninstall", agent)
    assert files(home) == before


def test_claude_code_gets_base_url_and_status_line_and_keeps_its_comments(run, home):
    run("install", "claude")

    text = (home / FILES["claude"]).read_text()
    assert f'"ANTHROPIC_BASE_URL": "{base_url(home)}/anthropic"' in text
    assert "status --line --stdin" in text
    for kept in ("// the company's", '"FOO": "1"', "/* keep */", '"permissions": {"allow": ["Bash(ls:*)",]},'):
        assert kept in text


def test_codex_goes_on_with_its_own_provider_at_our_address(run, home):
    run("install", "codex")

    text = (home / FILES["codex"]).read_text()
    assert tomllib.loads(text) == tomllib.loads(TOML) | {"openai_base_url": f"{base_url(home)}/openai/v1"}
    assert TOML in text


def test_opencodes_providers_keep_their_keys(run, home):
    run("install", "opencode")

    providers = json.loads((home / FILES["opencode"]).read_text())["provider"]
    assert providers["openai"]["options"] == {"apiKey": "k", "baseURL": f"{base_url(home)}/openai/v1"}
    assert providers["anthropic"]["options"] == {"baseURL": f"{base_url(home)}/anthropic/v1"}


OLD_BASES = ("http://127.0.0.1:8787", "http://127.0.0.1:8787/k/of-another-day")


@pytest.mark.parametrize("own", [*(f"{old}/openai/v1" for old in OLD_BASES), "https://api.openai.com/v1"])
def test_opencode_with_a_base_url_of_an_older_installation_gets_the_one_of_today(own, run, home):
    (home / FILES["opencode"]).write_text(json.dumps({"provider": {"openai": {"options": {"baseURL": own}}}}))

    assert run("install", "opencode")[0] == 0

    providers = json.loads((home / FILES["opencode"]).read_text())["provider"]
    assert providers["openai"]["options"]["baseURL"] == f"{base_url(home)}/openai/v1"


@pytest.mark.parametrize(
    "own", ["https://api.anthropic.com/v1", f"{OLD_BASES[0]}/anthropic/v1", "https://proxy.example/v1"]
)
def test_opencodes_key_for_one_provider_is_not_sent_to_the_other(own, run, home):
    (home / ".config/ctxgc").mkdir()
    (home / ".config/ctxgc/config.toml").write_text('[gateway]\nupstream_anthropic = "https://proxy.example"\n')
    (home / FILES["opencode"]).write_text(json.dumps({"provider": {"openai": {"options": {"baseURL": own}}}}))

    code, said = run("install", "opencode")

    assert code != 0
    assert "`upstream_openai`" in said.err


def test_what_the_user_set_meanwhile_stays_and_ours_goes(run, home):
    path = home / FILES["claude"]
    run("install", "claude")
    path.write_text(path.read_text().replace('"opus"', '"sonnet"').replace('"FOO": "1"', '"FOO": "1", "BAR": "2"'))

    run("uninstall", "claude")

    assert path.read_text() == SETTINGS.replace('"opus"', '"sonnet"').replace('"FOO": "1"', '"FOO": "1", "BAR": "2"')


def test_a_value_that_the_user_made_his_own_meanwhile_is_left_and_said_so(run, home):
    path = home / FILES["claude"]
    run("install", "claude")
    path.write_text(path.read_text().replace(f"{base_url(home)}/anthropic", "https://mine.example"))

    _, said = run("uninstall", "claude")

    assert "env.ANTHROPIC_BASE_URL is not ours any more and stays" in said.out
    assert "https://mine.example" in path.read_text()
    assert "statusLine" not in path.read_text()


def test_an_agent_without_settings_has_none_again_afterwards(run, home):
    (home / FILES["claude"]).unlink()

    run("install", "claude")
    assert json.loads((home / FILES["claude"]).read_text())["env"]["ANTHROPIC_BASE_URL"]
    run("uninstall", "claude")

    assert not (home / FILES["claude"]).exists()


@pytest.mark.parametrize(
    ("agent", "text", "why"),
    [
        ("claude", '{"env": ', "cannot be changed for you"),
        ("claude", '{"env": {"ANTHROPIC_BASE_URL": "https://proxy.example"}}', "proxy.example"),
        ("claude", '{"env": {"CLAUDE_CODE_USE_VERTEX": "1"}}', "CLAUDE_CODE_USE_VERTEX"),
        ("codex", 'model_provider = "azure"', "names a provider of its own, `azure`"),
        ("codex", 'openai_base_url = "https://proxy.example"', "proxy.example"),
        ("codex", "model = ", "cannot be changed for you"),
        ("opencode", '{"provider": {"openai": {"options": {"baseURL": "https://x"}}}}', "to another address"),
        ("opencode", '{"provider": []}', "is no object"),
    ],
)
def test_settings_that_send_the_agent_elsewhere_or_cannot_be_read_are_left_with_a_reason(agent, text, why, run, home):
    (home / FILES[agent]).write_text(text)
    before = files(home)

    code, said = run("install", agent)

    assert code != 0
    assert why in said.err
    assert files(home) == before


def test_a_dry_run_and_a_no_change_nothing(manager, home, capfd, monkeypatch):
    before = files(home)

    assert main(["install", "claude", "codex", "--dry-run"]) == 0
    assert "env.ANTHROPIC_BASE_URL set to" in capfd.readouterr().out
    assert main(["install", "claude"]) == 2  # Nobody at the terminal.

    assert files(home) == before
    assert not [command for command in manager.commands if "enable" in command]


@pytest.mark.parametrize("agent", FILES)
def test_no_secret_is_made_before_the_yes(agent, manager, home, capfd):
    assert main(["install", agent, "--dry-run"]) == 0
    assert "SECRET stands for the gateway's secret" in capfd.readouterr().out
    assert main(["install", agent]) == 2  # Nobody at the terminal.
    assert not list(home.rglob(SECRET_FILE))

    assert main(["install", agent, "--yes"]) == 0
    assert base_url(home) in (home / FILES[agent]).read_text()
    assert read_secret(str(home / ".local" / "state" / "ctxgc"), SECRET_FILE) not in ("", "SECRET")


def test_a_dry_run_lists_the_changes_before_it_says_that_no_service_manager_answers(manager, home, capfd):
    manager.codes["show-environment"] = 1

    assert main(["install", "claude", "--dry-run"]) == 1

    said = capfd.readouterr()
    assert "env.ANTHROPIC_BASE_URL set to" in said.out
    assert "no service manager" in said.err


def test_systemd_runs_daemon_and_gateway_with_the_programs_of_this_installation(run, manager, home):
    run("install", "claude")

    units = {path.name: path.read_text() for path in (home / ".config/systemd/user").iterdir()}
    assert units.keys() == {"ctxgcd.socket", "ctxgcd.service", "ctxgc-gateway.service"}
    assert 'ExecStart="/opt/my tools/ctxgcd"\n' in units["ctxgcd.service"]
    assert 'ExecStart="/opt/my tools/ctxgc" gateway --no-spawn\n' in units["ctxgc-gateway.service"]
    assert ["systemctl", "--user", "enable", "--now", "ctxgcd.socket", "ctxgc-gateway.service"] in manager.commands


def test_the_services_go_with_the_last_agent_and_not_before(run, manager, home):
    run("install", "claude", "codex")
    run("uninstall", "claude")
    assert (home / ".config/systemd/user/ctxgc-gateway.service").exists()

    run("uninstall")

    assert not (home / ".config/systemd").exists()
    assert "disable" in str(manager.commands[-1])


def test_a_unit_of_the_users_own_stays(run, home):
    own = home / ".config/systemd/user/ctxgcd.service"
    own.parent.mkdir(parents=True)
    own.write_text("[Service]\nExecStart=/mine\n")

    _, said = run("install", "claude")
    run("uninstall", "claude")

    assert "is yours and stays" in said.out
    assert own.read_text() == "[Service]\nExecStart=/mine\n"


def test_services_that_do_not_start_leave_the_agents_settings_alone(run, manager, home):
    manager.codes["enable"] = 1

    code, said = run("install", "claude")

    assert code == 1
    assert "`ctxgc uninstall`" in said.err
    assert (home / FILES["claude"]).read_text() == SETTINGS
    run("uninstall")
    assert not (home / ".config/systemd").exists()


def test_without_a_service_manager_no_agent_is_sent_to_a_gateway_that_may_not_run(run, manager, home):
    manager.codes["show-environment"] = 1

    code, said = run("install", "claude")
    assert code == 1
    assert "reach no model" in said.err
    assert (home / FILES["claude"]).read_text() == SETTINGS

    assert run("install", "claude", "--no-service")[0] == 0


def test_settings_in_variables_that_a_service_does_not_see_are_a_reason_to_refuse(run, home, monkeypatch):
    monkeypatch.setenv("CTXGC_GATEWAY__PORT", "9999")

    code, said = run("install", "claude")

    assert code == 78
    assert "CTXGC_GATEWAY__PORT" in said.err


def test_launchd_gets_two_agents_on_a_simulated_mac(run, manager, home):
    manager.system = "darwin"

    run("install", "claude")

    folder = home / "Library/LaunchAgents"
    plists = {path.name: plistlib.loads(path.read_bytes()) for path in folder.iterdir()}
    assert plists.keys() == {"ctxgc.daemon.plist", "ctxgc.gateway.plist"}
    assert plists["ctxgc.gateway.plist"]["ProgramArguments"] == ["/opt/my tools/ctxgc", "gateway", "--no-spawn"]
    assert all(one["RunAtLoad"] and one["Label"] == name.removesuffix(".plist") for name, one in plists.items())
    assert ["launchctl", "bootstrap", "gui/501", str(folder / "ctxgc.gateway.plist")] in manager.commands
    run("uninstall")
    assert not folder.parent.exists()
    assert ["launchctl", "bootout", "gui/501/ctxgc.gateway"] in manager.commands


def test_opencode_by_the_plugin_needs_no_gateway_and_no_service(run, manager, home):
    before = files(home)

    run("install", "opencode", "--plugin")

    assert (home / ".config/opencode/plugins/ctxgc.ts").read_text() == packaged_text(PLUGIN)
    assert (home / FILES["opencode"]).read_text() == OPENCODE
    assert not manager.commands
    run("uninstall")
    assert files(home) == before


def test_settings_keep_their_rights_and_a_link_stays_a_link(run, home):
    path, real = home / FILES["claude"], home / "dotfiles.json"
    path.rename(real)
    path.symlink_to(real)
    real.chmod(0o640)

    run("install", "claude")

    assert path.is_symlink()
    assert "ANTHROPIC_BASE_URL" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640
    record = home / ".local/state/ctxgc/install/claude.json"
    assert record.stat().st_mode & 0o077 == 0
    assert Path(record).parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("parts", [("--mcp",), ("--hooks",), ("--gateway",), ("--mcp", "--hooks", "--gateway")])
@pytest.mark.parametrize("agent", ["claude", "codex", "opencode"])
def test_a_link_that_leads_nowhere_yet_leads_there_again_afterwards(agent, parts, run, home):
    names = (".claude/settings.json", ".claude.json", ".codex/config.toml", ".codex/hooks.json", FILES["opencode"])
    names += (".config/opencode/plugins/ctxgc.ts",)
    (home / names[-1]).parent.mkdir()
    for number, name in enumerate(names):
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(home / "dotfiles" / f"{number}")

    assert run("install", agent, *parts)[0] == 0
    assert list((home / "dotfiles").iterdir())
    assert run("uninstall", agent)[0] == 0

    assert all((home / name).is_symlink() for name in names)
    assert not (home / "dotfiles").exists()


@pytest.mark.parametrize("text", ["", " \r\n", "\ufeff", "\ufeff\n"])
@pytest.mark.parametrize("agent", FILES)
def test_a_file_of_nothing_but_spaces_is_one_without_settings(agent, text, run, home):
    (home / FILES[agent]).write_bytes(text.encode())

    assert run("install", agent)[0] == 0
    assert run("uninstall", agent)[0] == 0

    assert (home / FILES[agent]).read_bytes() == text.encode()


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
@pytest.mark.parametrize(("agents", "why"), [(("claude",), "claude is not installed"), ((), "no agent is installed")])
def test_where_nothing_is_installed_an_uninstallation_says_so_in_one_sentence(agents, why, how, run):
    code, said = run("uninstall", *agents, *how)

    assert (code, said.out) == (0, f"nothing to take back: {why}\n")


PARTS = [("--mcp",), ("--hooks",), ("--mcp", "--hooks"), ("--gateway", "--mcp", "--hooks")]


@pytest.mark.parametrize("parts", PARTS, ids=" ".join)
@pytest.mark.parametrize("agent", FILES)
def test_each_part_is_installed_beside_what_is_there_and_leaves_nothing_behind(agent, parts, run, home):
    mine = {"hooks": {"PostToolUse": [{"hooks": [{"type": "command", "command": "mine"}]}]}, "x": 1}
    (home / ".codex" / "hooks.json").write_text(json.dumps(mine))
    (home / ".claude.json").write_text('{"mcpServers": {"other": {"command": "o"}}, "oauthAccount": {}}')
    before = files(home)

    assert run("install", agent, *parts)[0] == 0
    once = files(home)
    assert once != before
    assert run("install", agent, *parts)[0] == 0
    assert {name: text for name, text in files(home).items() if "state" not in name} == {
        name: text for name, text in once.items() if "state" not in name
    }
    assert run("uninstall", agent)[0] == 0
    assert files(home) == before


def test_a_part_added_later_leaves_the_parts_that_are_there(run, home):
    before = files(home)
    run("install", "claude")
    run("install", "claude", "--mcp")
    run("install", "claude", "--hooks")

    settings = (home / ".claude" / "settings.json").read_text()
    assert "ANTHROPIC_BASE_URL" in settings
    assert "'/opt/my tools/ctxgc' hook --agent claude" in settings
    assert "mcpServers" in (home / ".claude.json").read_text()
    run("uninstall", "claude")
    assert files(home) == before


def test_tools_and_hooks_need_no_gateway_and_no_service(run, manager, home):
    assert run("install", "claude", "codex", "--mcp", "--hooks")[0] == 0

    assert manager.commands == []
    assert "BASE_URL" not in (home / ".claude" / "settings.json").read_text()
    codex = tomllib.loads((home / ".codex" / "config.toml").read_text())
    assert codex["mcp_servers"]["ctxgc"]["args"] == ["mcp"]
    assert codex["tui"] == {"theme": "dark"}
    server = json.loads((home / ".claude.json").read_text())["mcpServers"]["ctxgc"]
    assert server["alwaysLoad"] is True


def test_opencode_gets_the_server_and_its_command(run, home):
    before = files(home)

    assert run("install", "opencode", "--mcp")[0] == 0

    settings = json.loads((home / ".config" / "opencode" / "opencode.json").read_text())
    assert settings["mcp"]["ctxgc"]["command"][-1] == "mcp"
    assert (home / ".config" / "opencode" / "command" / "ctxgc.md").exists()
    run("uninstall", "opencode")
    assert files(home) == before


@pytest.mark.parametrize(
    ("installations", "collects"),
    [
        (["--hooks"], True),
        (["--plugin --hooks"], True),
        (["--plugin", "--hooks"], True),
        (["--gateway --hooks"], False),
        (["--gateway", "--hooks"], False),
        (["--hooks", "--gateway"], False),
        (["--hooks", "--mcp", "--hooks"], True),
    ],
    ids=str,
)
def test_opencodes_plugin_has_the_hooks_and_collects_where_no_gateway_does(installations, collects, run, home):
    before = files(home)

    for words in installations:
        assert run("install", "opencode", *words.split())[0] == 0

    plugins = home / ".config" / "opencode" / "plugins"
    assert (plugins / "ctxgc" / "notes.ts").read_text() == packaged_text(PLUGIN_NOTES)
    [line] = [line for line in (plugins / "ctxgc.ts").read_text().split("\n") if line.startswith("const INSTALLED = ")]
    installed = json.loads(line.removeprefix("const INSTALLED = "))
    assert installed == {"collects": collects, "hooks": True, "command": "/opt/my tools/ctxgc"}
    assert ("baseURL" in (home / FILES["opencode"]).read_text()) is not collects
    run("uninstall", "opencode")
    assert files(home) == before


def test_hooks_of_the_users_own_stand_before_ours(run, home):
    (home / ".claude" / "settings.json").write_text('{"hooks": {"PreCompact": [{"hooks": [{"command": "mine"}]}]}}')

    run("install", "claude", "--hooks")

    groups = json.loads((home / ".claude" / "settings.json").read_text())["hooks"]["PreCompact"]
    assert [group["hooks"][0]["command"].split()[-1] for group in groups] == ["mine", "claude"]


def test_hooks_that_the_user_adds_behind_ours_double_nothing_and_outlive_ours(run, home):
    path = home / ".claude" / "settings.json"
    mine = [{"hooks": [{"type": "command", "command": name}]} for name in ("before", "after")]
    path.write_text(json.dumps({"hooks": {"PreCompact": mine[:1]}}))
    assert "in place of yours" not in run("install", "claude", "--hooks")[1].out
    settings = json.loads(path.read_text())
    settings["hooks"]["PreCompact"].append(mine[1])
    path.write_text(json.dumps(settings))

    run("install", "claude", "--mcp")

    assert path.read_text().count("hook --agent claude") == len(EVENTS)
    run("uninstall", "claude")
    assert json.loads(path.read_text()) == {"hooks": {"PreCompact": mine}}


def test_a_server_of_the_same_name_that_is_the_users_is_a_reason_to_refuse(run, home):
    (home / ".claude.json").write_text('{"mcpServers": {"ctxgc": {"command": "mine"}}}')
    (home / ".codex" / "config.toml").write_text('[mcp_servers.ctxgc]\ncommand = "mine"\n')
    before = files(home)

    for agent in ("claude", "codex"):
        assert run("install", agent, "--mcp")[0] != 0
    assert files(home) == before


def test_a_table_of_codexs_that_the_user_changed_stays_and_is_said_so(run, home):
    run("install", "codex", "--mcp")
    path = home / ".codex" / "config.toml"
    path.write_text(path.read_text().replace('args = ["mcp"]', 'args = ["mcp", "--no-spawn"]'))

    code, said = run("uninstall", "codex")

    assert code == 0
    assert "mcp_servers.ctxgc is not ours any more" in said.out
    assert "--no-spawn" in path.read_text()


def test_a_command_of_an_activated_environment_is_named_by_its_place(tmp_path):
    program = tmp_path / "env" / "bin" / "ctxgc"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    paths = {"PATH": str(program.parent)}

    assert ctxgc_command(paths, str(program)) == "ctxgc"
    assert ctxgc_command(paths | {"VIRTUAL_ENV": str(tmp_path / "env")}, str(program)) == str(program)


INSTALLS = [("claude", "--mcp", "--hooks"), ("codex", "--hooks"), ("opencode", "--mcp"), ("opencode", "--plugin")]
INSTALLS += [("codex", "--mcp"), ("opencode", "--hooks"), ("opencode", "--plugin", "--hooks", "--mcp")]


@pytest.mark.parametrize("words", INSTALLS, ids=" ".join)
@pytest.mark.parametrize("is_twice", [False, True])
def test_an_agent_without_any_folder_has_none_again_afterwards(words, is_twice, run, home):
    for folder in (".claude", ".codex", ".config"):
        shutil.rmtree(home / folder)

    for _ in range(1 + is_twice):
        assert run("install", *words)[0] == 0
    run("uninstall")

    assert [path.name for path in home.iterdir() if path.name != ".local"] == []


def test_a_folder_that_the_user_made_or_filled_stays(run, home):
    (home / ".claude" / "commands").mkdir()
    run("install", "claude", "opencode", "--mcp")
    (home / ".config" / "opencode" / "command" / "mine.md").touch()

    run("uninstall")

    assert (home / ".claude" / "commands").is_dir()
    assert (home / ".config" / "opencode" / "command" / "mine.md").exists()


COMMANDS = {
    "claude": [".claude/commands/ctxgc.md"],
    "codex": [".codex/skills/ctxgc/SKILL.md", ".codex/prompts/ctxgc.md"],
    "opencode": [".config/opencode/command/ctxgc.md"],
}


@pytest.mark.parametrize(("agent", "name"), [(agent, name) for agent, names in COMMANDS.items() for name in names])
def test_a_command_comes_with_the_tools_and_a_file_of_the_users_stays(agent, name, run, home):
    run("install", agent, "--mcp")
    assert {name for name in COMMANDS[agent] if "recall WORDS" in (home / name).read_text()} == {*COMMANDS[agent]}
    run("uninstall", agent)
    (home / name).parent.mkdir(parents=True)
    (home / name).write_text("mine")
    before = files(home)

    code, said = run("install", agent, "--mcp")

    assert code == 0
    assert f"{home / name} is yours and stays" in said.out
    run("uninstall", agent)
    assert files(home) == before


@pytest.mark.parametrize(("agent", "name"), [(agent, name) for agent, names in COMMANDS.items() for name in names])
def test_a_command_of_ours_that_the_user_rewrote_stays_the_users(agent, name, run, home):
    path = home / name
    run("install", agent, "--mcp")
    path.write_text("mine")

    code, said = run("install", agent, "--mcp", "--gateway")

    assert code == 0
    assert f"{path} is yours and stays" in said.out
    run("uninstall", agent)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("part", ["--plugin", "--hooks"])
@pytest.mark.parametrize("name", ["ctxgc.ts", "ctxgc/notes.ts"])
def test_a_file_of_the_plugin_that_is_the_users_is_a_reason_to_refuse(name, part, run, home):
    path = home / ".config" / "opencode" / "plugins" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")

    assert (run("install", "opencode", part)[0] != 0) == (part == "--hooks" or name == "ctxgc.ts")
    run("uninstall")
    assert path.read_text() == "mine"


@pytest.mark.parametrize("part", ["--plugin", "--hooks"])
def test_a_plugin_that_the_user_rewrote_is_a_reason_to_refuse(part, run, home):
    path = home / ".config" / "opencode" / "plugins" / "ctxgc.ts"
    run("install", "opencode", part)
    path.write_text("mine")

    assert run("install", "opencode", part)[0] != 0
    run("uninstall")
    assert path.read_text() == "mine"
