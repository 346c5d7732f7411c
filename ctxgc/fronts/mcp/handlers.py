"""The methods of the MCP server beside the first ones: loaded once a client asks for more than to begin."""

from __future__ import annotations

from ctxgc.fronts.mcp.resources import Resources, get_prompt, list_prompts
from ctxgc.fronts.mcp.tools import Tools, list_tools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctxgc.fronts.mcp.scope import Call, Scope
    from ctxgc.fronts.mcp.server import Handlers


def method_handlers(call: Call, scope: Scope) -> Handlers:
    """Each method and what carries the method out."""
    tools = Tools(call, scope)
    resources = Resources(call, scope, tools)
    return {
        "tools/list": list_tools,
        "tools/call": tools.call_tool,
        "resources/list": resources.list,
        "resources/templates/list": resources.templates,
        "resources/read": resources.read,
        "prompts/list": list_prompts,
        "prompts/get": get_prompt,
    }
