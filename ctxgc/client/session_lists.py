"""A session's lists, made ready on the program's own thread: encoded once, their format told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ctxgc.client.lists import FORMATS, detect_format, encode_json_value, request_body, require_list
from ctxgc.client.recall_tool import recall_tool
from ctxgc.client.session_work import ListRequest, SessionWork


class SessionOptions(NamedTuple):
    """How a session's lists are read and paced; see `Client.session`."""

    model: str = ""
    project: str = ""
    format: str = ""
    own_breakpoint: bool = True


class SessionLists:
    """A session's name and ways, and its work on the engine."""

    def __init__(self, name: str, options: SessionOptions, deadline_s: float, failures: Counter[str]) -> None:
        model, project, format, can_mark = options
        if format and format not in FORMATS:
            raise ValueError(f"no list format {format!r}; one of: {', '.join(FORMATS)}")
        self.work = SessionWork(name, project, deadline_s, failures, can_mark=can_mark)
        self._model = model
        self._format = format
        self._last_format = ""

    def prepare_list(self, messages: Sequence[Any], system: Any, tools: Any) -> ListRequest:
        """A list ready to be collected. Raises `TypeError` and `ValueError` for what is no list of a model API."""
        list_json = encode_json_value(require_list(messages))
        format = self._format or detect_format(list_json, self._model, has_system=system is not None)
        self._last_format = format
        body = request_body(format, list_json, model=self._model, system=system, tools=tools)
        return ListRequest(messages, format, list_json, body)

    def recall_tool(self, format: str) -> dict[str, Any]:
        """The recall tool in a format: the named one, the session's, or the last list's. Raises `ValueError`."""
        chosen_format = format or self._format or self._last_format
        if not chosen_format and "claude" in self._model.lower():
            chosen_format = FORMATS[0]
        if chosen_format not in FORMATS:
            raise ValueError(f"name the model API by `format`: {', '.join(FORMATS)}")
        return recall_tool(chosen_format)
