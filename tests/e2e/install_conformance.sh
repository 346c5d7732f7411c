#!/usr/bin/env bash
# Installs the protocol's own conformance suite for MCP servers, pinned, into a folder outside the repository:
#   $CTXGC_AGENTS_DIR/conformance, else ~/.cache/ctxgc-agents/conformance
# Done at once if it is there. Needs node, npm and a registry of packages; fails loudly without them.
set -euo pipefail

PACKAGES=(@modelcontextprotocol/conformance@0.1.16)
folder="${CTXGC_AGENTS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ctxgc-agents}/conformance"
command -v npm >/dev/null || { echo "install_conformance: there is no npm here" >&2; exit 1; }
# The suite needs Node 22: an older one brings a newer one along.
[[ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 22')" == true ]] || PACKAGES+=(node@22.23.3)

if [[ ! -f "$folder/.installed" || "$(<"$folder/.installed")" != "${PACKAGES[*]}" ]]; then
    mkdir -p "$folder"
    npm install --no-audit --no-fund --loglevel=error --prefix "$folder" "${PACKAGES[@]}" >&2
    PATH="$folder/node_modules/.bin:$PATH" "$folder/node_modules/.bin/conformance" list --server >/dev/null
    echo "${PACKAGES[*]}" >"$folder/.installed"
fi
echo "$folder"
