"""The tools, resources and prompts that the protocol's conformance suite asks for, behind our server and our address.

POST ──▶ the gateway's guard and its `ToolsEndpoint` ──▶ `McpServer` ──▶ the handlers here
"""

import asyncio
import json
import threading

from aiohttp import web

from ctxgc.fronts.mcp.rpc import INVALID_PARAMS, RESOURCE_NOT_FOUND, BadMessage
from ctxgc.fronts.mcp.scope import Scope
from ctxgc.fronts.mcp.server import McpServer
from ctxgc.gateway.http.origin_guard import origin_middleware
from ctxgc.gateway.http.tools_endpoint import TOOLS_PREFIX, ToolsEndpoint

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WAVE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
START_S = 20


def text(words):
    return {"type": "text", "text": words}


IMAGE = {"type": "image", "data": PIXEL, "mimeType": "image/png"}


def embedded(uri, words="embedded"):
    return {"type": "resource", "resource": {"uri": uri, "mimeType": "text/plain", "text": words}}


TOOLS = {
    "test_simple_text": [text("This is a simple text response for testing.")],
    "test_image_content": [IMAGE],
    "test_audio_content": [{"type": "audio", "data": WAVE, "mimeType": "audio/wav"}],
    "test_embedded_resource": [embedded("test://embedded-resource")],
    "test_multiple_content_types": [
        text("Multiple content types test:"),
        IMAGE,
        embedded("test://mixed-content-resource"),
    ],
    "test_error_handling": [text("This tool intentionally returns an error for testing")],
}
SCHEMA_2020 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}
RESOURCES = {
    "test://static-text": {"mimeType": "text/plain", "text": "This is the content of the static text resource."},
    "test://static-binary": {"mimeType": "image/png", "blob": PIXEL},
}
PROMPTS = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
}


def list_tools(params):
    tools = [{"name": name, "description": name, "inputSchema": {"type": "object"}} for name in TOOLS]
    newest = {"name": "json_schema_2020_12_tool", "description": "newest", "inputSchema": SCHEMA_2020}
    return {"tools": [*tools, newest]}


def call_tool(params):
    if params.get("name") not in TOOLS:
        raise BadMessage(INVALID_PARAMS, "no tool")
    return {"content": TOOLS[params["name"]], "isError": params["name"] == "test_error_handling"}


def read_resource(params):
    uri = params.get("uri", "")
    if uri.startswith("test://template/"):
        id = uri.split("/")[3]
        found = {"mimeType": "application/json", "text": json.dumps({"id": id, "data": f"Data for ID: {id}"})}
    elif (found := RESOURCES.get(uri)) is None:
        raise BadMessage(RESOURCE_NOT_FOUND, "no such resource")
    return {"contents": [{"uri": uri, **found}]}


def list_prompts(params):
    rows = [
        {"name": name, "description": name, "arguments": [{"name": one, "required": True} for one in arguments]}
        for name, arguments in PROMPTS.items()
    ]
    return {"prompts": rows}


def get_prompt(params):
    name, given = params.get("name"), params.get("arguments") or {}
    contents = {
        "test_simple_prompt": [text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments": [text(f"Prompt with arguments: {' '.join(given.values())}")],
        "test_prompt_with_embedded_resource": [embedded(given.get("resourceUri", "test://x")), text("Look at it.")],
        "test_prompt_with_image": [IMAGE, text("Look at it.")],
    }[name]
    return {"messages": [{"role": "user", "content": content} for content in contents]}


HANDLERS = {
    "tools/list": list_tools,
    "tools/call": call_tool,
    "resources/list": lambda params: {"resources": [{"uri": uri, "name": uri} for uri in RESOURCES]},
    "resources/templates/list": lambda params: {
        "resourceTemplates": [{"uriTemplate": "test://template/{id}/data", "name": "template"}]
    },
    "resources/read": read_resource,
    "prompts/list": list_prompts,
    "prompts/get": get_prompt,
}


def serve_message(word, folder, version, body):
    """As `ctxgc.fronts.cli.mcp.serve_message` replies, without a word and a daemon."""
    from ctxgc.fronts.cli.mcp import http_reply

    scope = Scope(lambda method, params: None, folder, {})
    return http_reply(McpServer(lambda: HANDLERS, scope, version).answer_line(body))


class ReferenceServer:
    """The reference tools at a URL, on a loop in a thread of its own."""

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._start())
        return self

    async def _start(self):
        endpoint = ToolsEndpoint(serve_message)
        app = web.Application(middlewares=[origin_middleware(frozenset)])

        async def serve(request):
            return await endpoint.serve_tools_request(request, request.path)

        app.router.add_route("*", "/{path:.*}", serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}{TOOLS_PREFIX}word/folder"

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    def __exit__(self, *error):
        self._do(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_S)
