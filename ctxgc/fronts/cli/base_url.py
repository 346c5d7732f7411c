"""The address under which agents reach the gateway: the only place that every way asks."""

from __future__ import annotations

from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.gateway.secret import PATH_PREFIX, SECRET_FILE
from ctxgc.protocol.secret_file import ensure_secret, read_secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctxgc.config import Config
    from ctxgc.config_sections import GatewayConfig


STAND_IN = "SECRET"
"""The stand-in for a secret that is not made yet, in a plan that only shows."""


def gateway_address(gateway: GatewayConfig) -> str:
    """Scheme, host and port of the gateway. Raises `CommandRefused` for a gateway without a port of its own."""
    if not gateway.port:
        raise CommandRefused("the gateway has no port of its own", kind="config", hint="set `port` under [gateway]")
    host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
    return f"http://{host}:{gateway.port}"


def prepare_gateway_base_url(config: Config, *, makes_secret: bool = True) -> str:
    """The base URL of an agent, with the user's secret, without the provider's name. Raises `CommandRefused`.

    A missing secret is made, or a stand-in takes its place.
    """
    address, folder = gateway_address(config.gateway), str(config.daemon.lock_dir)
    try:
        make = ensure_secret if makes_secret else read_secret
        secret = make(folder, SECRET_FILE) or STAND_IN
    except OSError as error:
        raise CommandRefused(
            f"there is no secret for the base URL: {error.strerror}", hint=str(error.filename)
        ) from None
    return f"{address}{PATH_PREFIX}{secret}"


def openai_base_url(url: str, gateway: GatewayConfig) -> str:
    """The base URL of OpenAI's libraries below a base URL of the gateway: with `/v1`, unless the upstream came with a
    path of its own (a ChatGPT login's path has no `/v1`).
    """
    has_own_path = gateway.upstream_openai.rstrip("/").removesuffix("/v1").count("/") > 2
    return f"{url}/openai" if has_own_path else f"{url}/openai/v1"
