"""Completion scripts, generated from the parsers: static text, so that pressing Tab starts no Python.

bash and zsh get a case table of words, fish a `complete` line per word with its help.
"""

from __future__ import annotations

import argparse

from ctxgc.fronts.cli import commands

SHELLS_KNOWN = ("bash", "zsh", "fish")


class CompletionWords:
    """The words after a command: options with their help, options with a value, choices by option."""

    def __init__(self, name: str) -> None:
        parser = commands.build_parser(name, commands.load_command(name))
        self.options: dict[str, str] = {}
        self.choices: dict[str, list[str]] = {}
        self.valued: set[str] = set()
        self.takes_files = False
        for action in parser._actions:  # The only list of them that argparse keeps, stable since Python 2.7.
            self._add_action(action)

    def _add_action(self, action: argparse.Action) -> None:
        choices = [str(choice) for choice in action.choices or ()]
        if not action.option_strings:
            self.takes_files = self.takes_files or action.metavar == "PATH"
            if choices:
                self.choices[""] = choices
        for option in action.option_strings:
            if option.startswith("--"):
                self.options[option] = (action.help or "").split(";")[0]
                if action.nargs != 0:
                    self.valued.add(option)
                if choices:
                    self.choices[option] = choices


def completion_script(shell: str) -> str:
    """The completion script for a shell of `SHELLS_KNOWN`."""
    words = {name: CompletionWords(name) for name in commands.command_names()}
    return {"bash": _bash_script, "zsh": _zsh_script, "fish": _fish_script}[shell](words)


def _bash_script(words: dict[str, CompletionWords]) -> str:
    lines = [
        '# ctxgc completion for bash: eval "$(ctxgc completion bash)"',
        "_ctxgc() {",
        '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" words=""',
        "    COMPREPLY=()",
        f'    if [ "$COMP_CWORD" -eq 1 ]; then words="{" ".join(words)}"; else',
        '    case "${COMP_WORDS[1]} $prev" in',
    ]
    for name, known in words.items():
        for option, choices in known.choices.items():
            if option:
                lines.append(
                    f'        "{name} {option}") COMPREPLY=($(compgen -W "{" ".join(choices)}" -- "$cur")); return;;'
                )
        files = [option for option in ("--socket", "--file", "--path", "--project") if option in known.valued]
        lines += [f'        "{name} {option}") COMPREPLY=($(compgen -f -- "$cur")); return;;' for option in files]
    lines += ["    esac", '    case "${COMP_WORDS[1]}" in']
    for name, known in words.items():
        all_words = " ".join([*known.options, *known.choices.get("", [])])
        files_too = '; COMPREPLY=($(compgen -f -- "$cur"))' if known.takes_files else ""
        lines.append(f'        {name}) words="{all_words}"{files_too};;')
    lines += [
        "    esac; fi",
        '    COMPREPLY+=($(compgen -W "$words" -- "$cur"))',
        "}",
        "complete -o filenames -F _ctxgc ctxgc",
    ]
    return "\n".join(lines) + "\n"


def _zsh_script(words: dict[str, CompletionWords]) -> str:
    lines = ["#compdef ctxgc", "# ctxgc completion for zsh: ctxgc completion zsh > a folder of your $fpath, as _ctxgc"]
    lines += ["_ctxgc() {", "    local -a commands", "    commands=("]
    lines += [f"        {_quote_word(f'{name}:{commands.command_help(name)}')}" for name in words]
    lines += [
        "    )",
        "    if (( CURRENT == 2 )); then _describe command commands; return; fi",
        "    case $words[2] in",
    ]
    for name, known in words.items():
        specs = [_zsh_option(option, help_, known) for option, help_ in known.options.items()]
        if known.choices.get(""):
            specs.append(f"'1:what:({' '.join(known.choices[''])})'")
        elif known.takes_files:
            specs.append("'*:file:_files'")
        lines.append(f"        {name}) shift words; (( CURRENT-- )); _arguments {' '.join(specs)};;")
    lines += ["    esac", "}", 'if [ "$funcstack[1]" = "_ctxgc" ]; then _ctxgc "$@"; else compdef _ctxgc ctxgc; fi']
    return "\n".join(lines) + "\n"


def _zsh_option(option: str, help_: str, known: CompletionWords) -> str:
    # Brackets and colons are syntax of _arguments.
    text = help_.replace("[", "(").replace("]", ")").replace(":", "\\:")
    if option not in known.valued:
        return _quote_word(f"{option}[{text}]")
    values = f"({' '.join(known.choices[option])})" if option in known.choices else "_files" if "PATH" in help_ else ""
    return _quote_word(f"{option}[{text}]:value:{values}")


def _fish_script(words: dict[str, CompletionWords]) -> str:
    lines = ["# ctxgc completion for fish: ctxgc completion fish | source", "complete -c ctxgc -f"]
    for name, known in words.items():
        lines.append(
            f"complete -c ctxgc -n __fish_use_subcommand -a {name} -d {_quote_word(commands.command_help(name))}"
        )
        here = f"-n '__fish_seen_subcommand_from {name}'"
        if known.takes_files:
            lines.append(f"complete -c ctxgc {here} -F")
        if known.choices.get(""):
            lines.append(f"complete -c ctxgc {here} -a '{' '.join(known.choices[''])}'")
        for option, help_ in known.options.items():
            value = " -r" if option in known.valued else ""
            if option in known.choices:
                value = f" -x -a '{' '.join(known.choices[option])}'"
            lines.append(f"complete -c ctxgc {here} -l {option[2:]}{value} -d {_quote_word(help_)}")
    return "\n".join(lines) + "\n"


def _quote_word(text: str) -> str:
    """A word in single quotes, for any of the three shells."""
    return "'" + text.replace("'", "’") + "'"
