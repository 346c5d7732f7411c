#!/usr/bin/env bash
# Installs the TypeScript compiler for tests/clients; prints its folder.
set -euo pipefail
folder="${CTXGC_TYPESCRIPT_DIR:-$(cd "$(dirname "$0")/../.." && pwd)/.venv/typescript}"
if [[ ! -e "$folder/.ready" ]]; then
    mkdir -p "$folder"
    npm install --prefix "$folder" --no-save --no-audit --no-fund --silent 'typescript@^5' '@types/node@^20' >&2
    touch "$folder/.ready"
fi
echo "$folder"
