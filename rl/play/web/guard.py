"""Who may talk to the page's server, and how much they may send: what stands before every request.

* On loopback anybody at this machine may. What must be kept out are other web pages in the same browser: a request from
  one carries its Origin, and a name that was made to point here (DNS rebinding) stands in Host. Neither is ours.
* On any other address there is a token, which the printed URL holds. The first request with it leaves a cookie that
  requests of other sites' pages do not bring (SameSite=Lax), and programs may send it as a bearer token.
* No body is larger than MOST_BYTES; it is read here, so that nothing behind reads more.
"""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1 << 20
DRAINED_BYTES = 8 << 20  # of what is too large, so that whoever sends it gets to read the answer
HOST = re.compile(r"[\w.:\[\]-]+", re.ASCII)
READING = {"GET", "HEAD", "OPTIONS"}
WEEK = 7 * 24 * 3600


class Guard:
    """ASGI middleware. ``token`` None: only for a server on loopback, which is then asked for by its own names."""

    def __init__(self, app: ASGIApp, port: int, token: str | None = None) -> None:
        self.app, self.port, self.token = app, port, token
        self.cookie = f"fuseki-{port}"  # cookies know no ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refused(scope, headers)
        if refused is not None:
            await _answer(scope, receive, send, *refused)
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        if self.token is not None and scope["method"] == "GET" and self._in_query(scope):
            await self._welcome(scope, send)
            return
        whole = await _body(receive, headers.get("content-length", ""))
        if whole is None:
            await _answer(scope, receive, send, 413, f"the request's body is larger than {MOST_BYTES:,} bytes")
            return
        await self.app(scope, _replayed(whole, receive), _with_headers(send, headers.get("host", "")))

    def _refused(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self.token is None and not self._ours(host):
            return 403, f"this server answers at localhost:{self.port}, not for the host {host[:100]!r}"
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in READING
        if changes and origin is not None and not _is_of(origin, host):
            return 403, f"a page of {origin[:100]!r} may not do this here"
        if changes and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "a page of another site may not do this here"
        if self.token is not None and not self._known(scope, headers):
            return 401, "this server needs the token in the URL that it has printed where it was started"
        return None

    def _ours(self, host: str) -> bool:
        """Whether the Host header names this server as seen from this machine."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        return port == self.port and (name == "localhost" or is_loopback(name))

    def _known(self, scope: Scope, headers: dict[str, str]) -> bool:
        # Not http.cookies, which drops them all where another application's is odd.
        offered = [cookie_parser(headers.get("cookie", "")).get(self.cookie, "")]
        scheme, _, word = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            offered.append(word.strip())
        if scope["type"] == "http" and scope["method"] == "GET":
            offered += parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return any(secrets.compare_digest(word.encode(), (self.token or "").encode()) for word in offered)

    def _in_query(self, scope: Scope) -> bool:
        return "token" in parse_qs(scope["query_string"].decode("latin-1"))

    async def _welcome(self, scope: Scope, send: Send) -> None:
        """The token goes from the URL, where it would be seen and kept, into a cookie."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        query.pop("token")
        place = scope["path"] + ("?" + urlencode(query, doseq=True) if query else "")
        # A path of "//name" would be another server's.
        place = "/" + place.lstrip("/")
        cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={WEEK}"
        headers = [(b"location", place.encode()), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 303, "headers": headers + fixed_headers("")})
        await send({"type": "http.response.body", "body": b""})


def _is_of(origin: str, host: str) -> bool:
    """Whether an Origin header names this host and port."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether this address, or the name localhost, is reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def fixed_headers(host: str) -> list[tuple[bytes, bytes]]:
    """What every answer carries: the page loads nothing from elsewhere, and nobody frames it."""
    live = f" ws://{host}" if HOST.fullmatch(host) else ""  # older browsers do not count it among 'self'
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        f"connect-src 'self'{live}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return [
        (b"content-security-policy", policy.encode("latin-1")),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]


def _with_headers(send: Send, host: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *fixed_headers(host)]
        await send(message)

    return sending


async def _body(receive: Receive, declared: str) -> bytes | None:
    """The whole body; None where it is too large."""
    large = declared.isdigit() and int(declared) > MOST_BYTES
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break  # gone
        part = message.get("body", b"")
        size += len(part)
        large = large or size > MOST_BYTES
        if large:
            parts.clear()
        else:
            parts.append(part)
        if not message.get("more_body") or size > DRAINED_BYTES:
            break
    return None if large else b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return waiting.pop() if waiting else await receive()

    return receiving


async def _answer(scope: Scope, receive: Receive, send: Send, status: int, sentence: str) -> None:
    """Refuse a request, or the opening of a WebSocket, with a sentence."""
    kind = "http" if scope["type"] == "http" else "websocket.http"
    if kind == "websocket.http":
        await receive()  # websocket.connect
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": sentence})
            return
    body = json.dumps({"error": sentence}).encode()
    headers: list[tuple[bytes, Any]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *fixed_headers(""),
    ]
    await send({"type": f"{kind}.response.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body})
