"""Runs the program of a how-to page, with the names that a reader has already."""

import ast
import inspect
import re
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs" / "howto"


def program_of(page):
    """The one program of a page."""
    (program,) = re.findall(r"^```python\n(.*?)^```", (PAGES / page).read_text(), re.M | re.S)
    return program


async def run_page(page, **names):
    """What the page's program leaves behind; `names` are the reader's own."""
    code = compile(program_of(page), page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result
    return names
