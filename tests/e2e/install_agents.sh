#!/usr/bin/env bash
# Installs the coding agents of tests/e2e/test_agents.py, pinned, into a folder outside the repository:
#   $CTXGC_AGENTS_DIR, else ~/.cache/ctxgc-agents
# Done at once if they are there. Needs node, npm and a registry of packages; fails loudly without them.
set -euo pipefail

AGENTS=(@anthropic-ai/claude-code@2.1.197 @openai/codex@0.169.0 opencode-ai@1.18.33)
WITH_SCRIPTS=(@anthropic-ai/claude-code opencode-ai) # Their install scripts link the native programs.

folder="${CTXGC_AGENTS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ctxgc-agents}"
stamp="$folder/.installed"
wanted="${AGENTS[*]}"

if [[ -f "$stamp" && "$(<"$stamp")" == "$wanted" ]]; then
    echo "$folder"
    exit 0
fi
command -v npm >/dev/null || { echo "install_agents: there is no npm here" >&2; exit 1; }

mkdir -p "$folder"
quiet=(--no-audit --no-fund --loglevel=error --prefix "$folder")
npm install "${quiet[@]}" "${AGENTS[@]}" >&2
# Newer versions of npm run no install script that nobody approved; older ones have run them and know no such command.
if npm install-scripts --help >/dev/null 2>&1; then
    npm install-scripts approve "${WITH_SCRIPTS[@]}" --prefix "$folder" >&2
    npm rebuild "${quiet[@]}" >&2
fi
for agent in claude codex opencode; do
    HOME="$folder/home" "$folder/node_modules/.bin/$agent" --version >/dev/null
done
echo "$wanted" >"$stamp"
echo "$folder"
