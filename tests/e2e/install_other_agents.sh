#!/usr/bin/env bash
# Installs the agents of tests/e2e/test_other_agents.py, pinned, beside those of install_agents.sh:
#   $CTXGC_AGENTS_DIR/others, else ~/.cache/ctxgc-agents/others
# Done at once if they are there. Needs node, npm, python3 and registries of packages; fails loudly without them.
set -euo pipefail

NPM=(@mariozechner/pi-coding-agent@0.73.1 @qwen-code/qwen-code@0.15.10 @github/copilot@1.0.102)
PIP=(mini-swe-agent==2.4.6)

folder="${CTXGC_AGENTS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ctxgc-agents}/others"
stamp="$folder/.installed"
wanted="${NPM[*]} ${PIP[*]}"

if [[ -f "$stamp" && "$(<"$stamp")" == "$wanted" ]]; then
    echo "$folder"
    exit 0
fi
command -v npm >/dev/null || { echo "install_other_agents: there is no npm here" >&2; exit 1; }

mkdir -p "$folder"
npm install --no-audit --no-fund --loglevel=error --prefix "$folder" "${NPM[@]}" >&2
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install --quiet "${PIP[@]}" >&2
for program in pi qwen copilot; do
    HOME="$folder/home" "$folder/node_modules/.bin/$program" --version >/dev/null
done
echo "$wanted" >"$stamp"
echo "$folder"
