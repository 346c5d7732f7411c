"""The address under which agents reach the gateway: the one place that every way to it asks."""

from __future__ import annotations

from ctxgc.fronts.cli.context import Refused
from ctxgc.gateway.secret import PATH_PREFIX, ensure_secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctxgc.config import Config, GatewayConfig


def gateway_address(gateway: GatewayConfig) -> str:
    """Scheme, host and port of the gateway. Raises `Refused` for a gateway without a port of its own."""
    if not gateway.port:
        raise Refused("the gateway has no port of its own", kind="config", hint="set `port` under [gateway]")
    host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
    return f"http://{host}:{gateway.port}"


def gateway_base_url(config: Config) -> str:
    """The base URL of an agent, with the user's secret, without the provider's name. Raises `Refused`."""
    address = gateway_address(config.gateway)
    try:
        return f"{address}{PATH_PREFIX}{ensure_secret(str(config.daemon.lock_dir))}"
    except OSError as error:
        raise Refused(f"there is no secret for the base URL: {error.strerror}", hint=str(error.filename)) from None
