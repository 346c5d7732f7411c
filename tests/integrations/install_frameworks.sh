#!/usr/bin/env bash
# Makes a virtual environment with every framework that ctxgc has a hook for; prints its Python.
set -euo pipefail
here="$(cd "$(dirname "$0")/../.." && pwd)"
folder="${CTXGC_FRAMEWORKS_DIR:-$here/.venv/frameworks}"
if [[ ! -e "$folder/.ready" ]]; then
    "${PYTHON:-python3}" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
        -e "$here[langchain,pydantic-ai,openai-agents,litellm,anthropic,openai]" \
        'pytest>=8.3' 'pytest-asyncio>=0.25' 'hypothesis>=6.120' 'aiohttp>=3.11,<4' >&2
    touch "$folder/.ready"
fi
echo "$folder/bin/python"
