"""Who may ask: the page itself, and clients that are no browsers. Other sites' pages in the same browser may not.

The console has no log-in: what keeps strangers out is the loopback address. A browser on this machine would let any
site that it shows send requests here, so each request is looked at: its ``Host`` (against DNS rebinding), its
``Origin`` and ``Sec-Fetch-Site`` (against cross-site requests), and the type of its body (a form can send no JSON).
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
    """A request that is not served."""

    def __init__(self, status: int, sentence: str) -> None:
        """``sentence`` is for whoever sent it."""
        super().__init__(sentence)
        self.status = status


class Problem(Struct, frozen=True):
    """The body of an answer to a request that is not served."""

    error: str


def check_host(host: str, names: frozenset[str]) -> None:
    """`Refusal` of a ``Host`` that another site can have pointed here: a name other than ``localhost`` and ours."""
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
            f"This console does not answer to the name {name[:80]!r}: open it by its address, or name it with --name.",
        ) from None


def check_site(headers: Mapping[str, str], host: str) -> None:
    """`Refusal` of a request that a page of another site made."""
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    if (origin is not None and urlsplit(origin).netloc.lower() != host.lower()) or site not in (
        None,
        "same-origin",
        "none",
    ):
        raise Refusal(403, "This request comes from another site's page; the console serves its own page alone.")


def guard(names: frozenset[str]) -> Middleware:
    """The middleware that checks every request; ``names`` are host names besides ``localhost`` that are ours."""

    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            check_host(request.host, names)
            if request.path.startswith("/api/"):
                check_site(request.headers, request.host)
            if request.method == "POST" and request.content_type != "application/json":
                raise Refusal(415, "An event is sent as JSON (Content-Type: application/json).")
            return await handler(request)
        except Refusal as refusal:
            return web.json_response(body=encode(Problem(str(refusal))), status=refusal.status)

    return checked


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """What browsers are told with every answer: no code, frame or request but the page's own."""
    response.headers.update(_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
