"""Download input files by URL: public addresses only, and at most five redirects; images and audio at most
100 MB and 60 seconds, videos 500 MB and 300 seconds.

Addresses are checked when the socket is created, so the checked address is the one that is connected to, even
if the name resolves differently the next time (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from .. import __version__
from ..errors import InvalidInput
from .sources import max_bytes
from .worker_settings import Network

MAX_SECONDS, MAX_VIDEO_SECONDS = 60.0, 300.0
MAX_REDIRECTS = 5
CHUNK = 1 << 20
REDIRECTS = (301, 302, 303, 307, 308)
# compressed responses are rejected: a decompression bomb would bypass the limit on transferred bytes
HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"multitalk/{__version__}"}


async def fetch(
    url: str,
    field: str,
    allowed_networks: Sequence[Network] = (),
    resolver: AbstractResolver | None = None,
    seconds: float | None = None,
) -> bytes:
    """Fetch a file, checking every address after name resolution and on each redirect.

    Args:
        url: An http or https URL.
        field: Name of the input field, for errors. Errors never contain the URL, which may hold credentials.
        allowed_networks: Non-public networks that are allowed.
        resolver: Resolves names; None is the system's resolver.
        seconds: Time limit, redirects included; None: that of the field.

    Raises:
        InvalidInput: The address is not public, or the file is too slow, too large or unavailable.
    """
    seconds = seconds or (MAX_VIDEO_SECONDS if field == "video" else MAX_SECONDS)
    connector = aiohttp.TCPConnector(
        socket_factory=guarded_sockets(allowed_networks),
        resolver=resolver or ThreadedResolver(),
        use_dns_cache=False,
    )
    # trust_env stays off: a proxy would resolve names and connect itself
    session = aiohttp.ClientSession(connector=connector, headers=HEADERS, auto_decompress=False)
    async with session:
        try:
            async with asyncio.timeout(seconds):
                return await _follow(session, url, field)
        except InvalidInput:
            raise
        except TimeoutError:
            raise InvalidInput(
                f"{field} could not be downloaded within {seconds:g} seconds.", field
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise InvalidInput(f"{field} {_reason(error)}.", field) from None


async def _follow(session: aiohttp.ClientSession, url: str, field: str) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        async with session.get(_checked_url(url, field), allow_redirects=False) as response:
            if response.status not in REDIRECTS:
                return await _read(response, field)
            location = response.headers.get("Location", "")
            if not location:
                raise InvalidInput(f"{field} redirects without a target.", field)
            url = str(response.url.join(URL(location)))
    raise InvalidInput(f"{field} redirects more than {MAX_REDIRECTS} times.", field)


def _checked_url(url: str, field: str) -> URL:
    try:
        scheme = urlsplit(url).scheme
        target = URL(url)
    except ValueError:
        raise InvalidInput(f"{field} is not a valid URL.", field) from None
    if scheme not in ("http", "https"):
        raise InvalidInput(
            f"{field} must be an https or http URL, not {scheme[:20]}:.",
            field,
        )
    if not target.host:
        raise InvalidInput(f"{field} must be a URL with a host name.", field)
    return target


async def _read(response: aiohttp.ClientResponse, field: str) -> bytes:
    if response.status != 200:
        raise InvalidInput(
            f"{field} could not be downloaded: the server returned status {response.status}.", field
        )
    if response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        raise InvalidInput(f"{field} could not be downloaded: the server sent a compressed response.", field)
    if response.content_length is not None and response.content_length > max_bytes(field):
        raise _too_large(field)
    data = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        data += chunk
        if len(data) > max_bytes(field):
            raise _too_large(field)
    if not data:
        raise InvalidInput(f"{field} is empty (0 bytes).", field)
    return bytes(data)


def _is_forbidden(error: BaseException | None) -> bool:
    """Return whether a client error was caused by a forbidden address."""
    while error is not None:
        if isinstance(error, ForbiddenAddress) or isinstance(
            getattr(error, "os_error", None), ForbiddenAddress
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reason(error: Exception) -> str:
    """Describe a client error without the address, which its own message contains."""
    if _is_forbidden(error):
        return "points to a non-public address; only public addresses are allowed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "could not be downloaded: the host name cannot be resolved"
    if isinstance(error, aiohttp.ClientSSLError):
        return "could not be downloaded: the server's certificate is not trusted"
    if isinstance(error, (aiohttp.ClientConnectorError, ConnectionError)):
        return "could not be downloaded: the server refused the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "could not be downloaded: the connection was lost"
    return "could not be downloaded: the server sent an invalid response"


def _too_large(field: str) -> InvalidInput:
    return InvalidInput(
        f"{field} must have at most {max_bytes(field) // 1_000_000} MB, and the server sends more.", field
    )


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# IPv4 addresses embedded in an IPv6 prefix by translating networks (RFC 6052, RFC 8215)
TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
# All public IPv6 addresses are in the first (not fec0::/10, once site-local), except examples (RFC 9637).
PUBLIC_IPV6, EXAMPLES_IPV6 = ipaddress.ip_network("2000::/3"), ipaddress.ip_network("3fff::/20")


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
    if isinstance(ip, ipaddress.IPv6Address) and (
        ip.scope_id is not None or ip not in PUBLIC_IPV6 or ip in EXAMPLES_IPV6
    ):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)
