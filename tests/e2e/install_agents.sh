#!/usr/bin/env bash
# Installs the coding agents of tests/e2e, pinned, into a folder outside the repository:
#   $CTXGC_AGENTS_DIR, else ~/.cache/ctxgc-agents            the versions that users have had for long
#   … /newest                                               the newest that were seen; CTXGC_AGENTS_LATEST=1: the newest there are
# Done at once if they are there. Needs node, npm and a registry of packages; fails loudly without them.
set -euo pipefail

AGENTS=(@anthropic-ai/claude-code@2.1.197 @openai/codex@0.169.0 opencode-ai@1.18.33)
NEWEST=(@anthropic-ai/claude-code@2.1.332 @openai/codex@0.171.0)
[[ "${CTXGC_AGENTS_LATEST:-0}" != 1 ]] || NEWEST=(@anthropic-ai/claude-code@latest @openai/codex@latest)

root="${CTXGC_AGENTS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ctxgc-agents}"
command -v npm >/dev/null || { echo "install_agents: there is no npm here" >&2; exit 1; }

# Newer versions of npm run no install script that nobody approved; older ones have run them and know no such command.
install_into() {
    local folder="$1" && shift
    local quiet=(--no-audit --no-fund --loglevel=error --prefix "$folder") with_scripts=() agent
    [[ -f "$folder/.installed" && "$(<"$folder/.installed")" == "$*" ]] && return
    mkdir -p "$folder"
    npm install "${quiet[@]}" "$@" >&2
    for agent in "$@"; do # Their install scripts link the native programs.
        [[ "$agent" == @openai/* ]] || with_scripts+=("${agent%@*}")
    done
    if npm install-scripts --help >/dev/null 2>&1; then
        npm install-scripts approve "${with_scripts[@]}" --prefix "$folder" >&2
        npm rebuild "${quiet[@]}" >&2
    fi
    for agent in claude codex opencode; do
        [[ ! -e "$folder/node_modules/.bin/$agent" ]] || HOME="$root/home" "$folder/node_modules/.bin/$agent" --version >/dev/null
    done
    echo "$*" >"$folder/.installed"
}

install_into "$root" "${AGENTS[@]}"
install_into "$root/newest" "${NEWEST[@]}"
echo "$root"
