"""An https server whose responses a test decides."""

from __future__ import annotations

import os
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.component.storage.certificates import Authority

CONTENT = os.urandom(300_000)
"""Of an object that tests read."""


@dataclass
class Page:
    content: bytes = b""
    etag: str | None = '"v1"'
    modified: float | None = None
    """Last-Modified, seconds since the epoch."""
    ranges: bool = True
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    most_bytes: int | None = None
    """The most bytes of one range: a server may send less than requested."""
    cut_after_bytes: int | None = None
    """Ends the connection once after this many bytes of the body."""


@dataclass(frozen=True)
class Asked:
    method: str
    target: str
    headers: Mapping[str, str]


class WebServer:
    """Serves pages by path and records the requests."""

    def __init__(self, authority: Authority) -> None:
        self.pages: dict[str, Page] = {}
        self.everything_else = Page(status=404)
        self.asked: list[Asked] = []
        self.server_names: list[str | None] = []
        """The host names in clients' TLS hello."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        context = authority.server_context()
        context.sni_callback = lambda _, name, __: self.server_names.append(name)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def port(self) -> int:
        return self._server.server_port

    def url(self, path: str, host: str = "localhost") -> str:
        return f"https://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes
            timeout = 10

            def handle(self) -> None:
                try:
                    super().handle()
                except (OSError, ssl.SSLError):
                    self.close_connection = True  # the client hung up, as in some tests

            def do_GET(self) -> None:
                site._answer(self)

            do_HEAD = do_PUT = do_GET  # noqa: N815 -- the names that http.server calls

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(Asked(handler.command, handler.path, {k.lower(): v for k, v in handler.headers.items()}))
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        page = self.pages.get(handler.path.partition("?")[0], self.everything_else)
        status, content, headers = _decide(page, handler.headers.get)
        announced_bytes = len(content)
        # Decided before a byte is sent: a client that wants the headers alone goes on, and its test sets the next cut.
        if handler.command != "HEAD" and page.cut_after_bytes is not None and announced_bytes > page.cut_after_bytes:
            content, page.cut_after_bytes = content[: page.cut_after_bytes], None
            handler.close_connection = True
        handler.send_response(status)
        sent = {"Content-Length": str(announced_bytes), **headers, **page.headers}
        for name, value in sent.items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)


def _decide(page: Page, header: Callable[[str], str | None]) -> tuple[int, bytes, dict[str, str]]:
    """(status, body, headers), with conditions and ranges as in RFC 9110."""
    validators = {}
    if page.etag is not None:
        validators["ETag"] = page.etag
    if page.modified is not None:
        validators["Last-Modified"] = formatdate(page.modified, usegmt=True)
    if page.status != 200:
        return page.status, page.content, {}
    if (wanted := header("If-Match")) is not None and (wanted != page.etag or wanted.startswith("W/")):
        return 412, b"", {}
    if (since := header("If-Unmodified-Since")) is not None and since != validators.get("Last-Modified"):
        return 412, b"", {}
    asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", header("Range") or "")
    if asked is None or not page.ranges:
        return 200, page.content, validators
    start, total = int(asked[1]), len(page.content)
    if start >= total:
        return 416, b"", {"Content-Range": f"bytes */{total}"}
    stop = min(int(asked[2]) + 1 if asked[2] else total, total, start + (page.most_bytes or total))
    return 206, page.content[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{total}", **validators}
