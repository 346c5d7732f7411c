"""The configuration as a command reads it: a configuration that no daemon starts with is a refusal."""

from __future__ import annotations

import os

from ctxgc.fronts.cli.context import CommandRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from ctxgc.config import Config


def load_config_or_refuse(path: Path | None = None) -> Config:
    """The configuration of a file, by default of the usual file, and of the environment. Raises `CommandRefused`."""
    from ctxgc.config import BadConfig, load_config

    try:
        return load_config(path, os.environ)
    except BadConfig as error:
        raise CommandRefused(str(error), kind="config") from None
