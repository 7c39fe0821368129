"""Fetching what a job names by URL: public addresses, 100 MB, 60 seconds, a few redirects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from .. import __version__
from ..errors import InvalidInput
from .addresses import ForbiddenAddress, guarded_sockets
from .sources import MAX_BYTES
from .worker_settings import Network

MAX_SECONDS = 60.0
MAX_REDIRECTS = 5
CHUNK = 1 << 20
REDIRECTS = (301, 302, 303, 307, 308)
# compressed answers are refused: what unpacks to gigabytes would pass every limit on what is transferred
HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"multitalk/{__version__}"}


async def fetch(
    url: str,
    field: str,
    allowed_networks: Sequence[Network] = (),
    resolver: AbstractResolver | None = None,
    seconds: float = MAX_SECONDS,
) -> bytes:
    """Fetch a file; every address is checked after its name is resolved, on each redirect anew.

    Args:
        url: http or https.
        field: What an error calls it; the URL itself is in no error, since it may hold credentials.
        allowed_networks: Networks that are allowed although they aren't public.
        resolver: Looks names up; None takes the system's.
        seconds: For all of it, redirects included.

    Raises:
        InvalidInput: It leads to an address that isn't public, takes too long, is too large or can't be had.
    """
    connector = aiohttp.TCPConnector(
        socket_factory=guarded_sockets(allowed_networks),
        resolver=resolver or ThreadedResolver(),
        use_dns_cache=False,
    )
    # trust_env is off: a proxy would look names up and connect by itself
    session = aiohttp.ClientSession(connector=connector, headers=HEADERS, auto_decompress=False)
    async with session:
        try:
            async with asyncio.timeout(seconds):
                return await _follow(session, url, field)
        except InvalidInput:
            raise
        except TimeoutError:
            raise InvalidInput(f"{field} couldn't be fetched within {seconds:g} seconds.", field) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise InvalidInput(f"{field} {_reason(error)}.", field) from None


async def _follow(session: aiohttp.ClientSession, url: str, field: str) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        async with session.get(_checked_url(url, field), allow_redirects=False) as response:
            if response.status not in REDIRECTS:
                return await _read(response, field)
            location = response.headers.get("Location", "")
            if not location:
                raise InvalidInput(f"{field} redirects to nowhere.", field)
            url = str(response.url.join(URL(location)))
    raise InvalidInput(f"{field} redirects more than {MAX_REDIRECTS} times.", field)


def _checked_url(url: str, field: str) -> URL:
    try:
        scheme = urlsplit(url).scheme
        target = URL(url)
    except ValueError:
        raise InvalidInput(f"{field} is a damaged URL.", field) from None
    if scheme not in ("http", "https"):
        raise InvalidInput(
            f"{field} leads to a {scheme[:20]}: address, but only https and http addresses are fetched.",
            field,
        )
    if not target.host:
        raise InvalidInput(f"{field} is a URL without a host.", field)
    return target


async def _read(response: aiohttp.ClientResponse, field: str) -> bytes:
    if response.status != 200:
        raise InvalidInput(
            f"{field} couldn't be fetched: its server answers with status {response.status}.", field
        )
    if response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        raise InvalidInput(f"{field} couldn't be fetched: its server compresses what it sends.", field)
    if response.content_length is not None and response.content_length > MAX_BYTES:
        raise _too_large(field)
    data = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        data += chunk
        if len(data) > MAX_BYTES:
            raise _too_large(field)
    if not data:
        raise InvalidInput(f"{field} is empty (0 bytes).", field)
    return bytes(data)


def _is_forbidden(error: BaseException | None) -> bool:
    """Whether a refused address is what the client's error comes from."""
    while error is not None:
        if isinstance(error, ForbiddenAddress) or isinstance(
            getattr(error, "os_error", None), ForbiddenAddress
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reason(error: Exception) -> str:
    """Why, without the address, which the client's own message would show."""
    if _is_forbidden(error):
        return "leads to an address that isn't public, and only public ones are fetched"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "couldn't be fetched: its host isn't known"
    if isinstance(error, aiohttp.ClientSSLError):
        return "couldn't be fetched: its server's certificate isn't trusted"
    if isinstance(error, (aiohttp.ClientConnectorError, ConnectionError)):
        return "couldn't be fetched: its server refuses the connection"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "couldn't be fetched: the connection broke off"
    return "couldn't be fetched: its server doesn't answer properly"


def _too_large(field: str) -> InvalidInput:
    return InvalidInput(
        f"{field} is larger than {MAX_BYTES // 1_000_000} MB, the most that is fetched.", field
    )
