"""Accepts requests of the page itself and of clients that are no browsers; refuses those of other sites' pages.

The console has no log-in: only the loopback address keeps strangers out. But a browser on this machine lets every site
that it shows send requests here. So every request is checked: its ``Host`` (against DNS rebinding), its ``Origin`` and
``Sec-Fetch-Site`` (against cross-site requests), and the type of its body (a form can't send JSON).
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from msgspec import Struct

from schemas.codec import encode

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Refusal(Exception):
    """A request is refused."""

    def __init__(self, status: int, sentence: str) -> None:
        """``sentence`` is for the person who sent the request."""
        super().__init__(sentence)
        self.status = status


class Problem(Struct, frozen=True):
    """The body of the answer to a request that is refused."""

    error: str


def check_host(host: str, names: frozenset[str]) -> None:
    """Raise `Refusal` for a ``Host`` that is not ``localhost``, an address or one of ``names``.

    Another site can let any other name point to this machine.
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        name = ""
    if name == "localhost" or name in names:
        return
    try:
        ipaddress.ip_address(name)
    except ValueError:
        raise Refusal(
            421,
            f"This console does not answer to the name {name[:80]!r}: open it by its address, or allow the name with "
            "--name.",
        ) from None


def check_site(headers: Mapping[str, str], host: str) -> None:
    """Raise `Refusal` for a request that a page of another site made."""
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    if (origin is not None and urlsplit(origin).netloc.lower() != host.lower()) or site not in (
        None,
        "same-origin",
        "none",
    ):
        raise Refusal(403, "This request comes from another site's page; the console serves only its own page.")


def guard(names: frozenset[str]) -> Middleware:
    """Make the middleware that checks every request; ``names``: host names that are accepted beside ``localhost``."""

    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            check_host(request.host, names)
            if request.path.startswith("/api/"):
                check_site(request.headers, request.host)
            if request.method == "POST" and request.content_type != "application/json":
                raise Refusal(415, "Send the event as JSON (Content-Type: application/json).")
            return await handler(request)
        except Refusal as refusal:
            return web.json_response(body=encode(Problem(str(refusal))), status=refusal.status)

    return checked


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Add headers to every answer that allow the browser no code, frame or request but the page's own."""
    response.headers.update(_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
