"""Headers by which `ctxgc run` speaks to the gateway. The gateway sends no such header on."""

from __future__ import annotations

WINDOW_HEADER = "x-ctxgc-window"
"""The size that the windows of a run are held to, in billed tokens."""
