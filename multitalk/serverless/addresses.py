"""Restrict URLs to public addresses, checked when the connection is made.

The check runs when the socket is created, so the checked address is the one that is connected to, even if the
name resolves differently the next time (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any

from .worker_settings import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# IPv4 addresses embedded in an IPv6 prefix by translating networks (RFC 6052, RFC 8215)
TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class ForbiddenAddress(OSError):
    """An address that is not public; an OSError like any other failure to connect."""


def is_allowed(address: str, allowed_networks: Sequence[Network] = ()) -> bool:
    """Return whether the worker may connect to an address: a public one, or one in the allowed networks.

    Args:
        address: IPv4 or IPv6 in the usual notation; other forms (2130706433, 0x7f.1) are rejected.
        allowed_networks: Non-public networks that are allowed.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if any(ip in network for network in allowed_networks):
        return True
    return all(_is_public(each) for each in _addresses_in(ip))


def guarded_sockets(allowed_networks: Sequence[Network]) -> Callable[[Any], socket.socket]:
    """Return a socket factory for aiohttp's connector that rejects forbidden addresses."""

    def make_socket(address_info: Any) -> socket.socket:
        family, kind, protocol, _name, address = address_info
        if not is_allowed(str(address[0]), allowed_networks):
            raise ForbiddenAddress("not a public address")
        return socket.socket(family, kind, protocol)

    return make_socket


def _addresses_in(ip: Address) -> list[Address]:
    """Return the address, and the IPv4 addresses that an IPv6 address is translated to."""
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if ip.sixtofour is not None:
        return [ip, ip.sixtofour]
    if ip.teredo is not None:
        return [ip, *ip.teredo]
    if any(ip in network for network in TRANSLATED):
        return [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)]
    return [ip]


def _is_public(ip: Address) -> bool:
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)
