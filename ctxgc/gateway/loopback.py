"""The addresses and names of this machine's loopback: the gateway listens on no others, and takes no proxy to these."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback_address(host: str) -> bool:
    """Whether `host` is an address of the loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_host(host: str) -> bool:
    """Whether `host` names this machine: `localhost`, or an address of the loopback."""
    return host.lower() == "localhost" or is_loopback_address(host)
