"""A documentation site on a real socket, in a thread: pages with validators, redirects, robots.txt, sitemaps and traps.

It counts what reaches it: requests, bodies that were sent, and the most requests that were in flight at one time.
"""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Self

Answer = tuple[int, Mapping[str, str], bytes]


def page(title: str, *links: str, head: str = "", text: str = "") -> str:
    """Return an HTML page."""
    listed = "".join(f'<li><a href="{link}">{link}</a></li>' for link in links)
    text = text or f"This page is about {title} and says what there is to say of {title}."
    return (
        f'<!doctype html><html lang="en"><head><title>{title}</title>{head}</head>'
        f"<body><main><h1>{title}</h1><p>{text}</p></main><nav><ul>{listed}</ul></nav></body></html>"
    )


class DocumentationSite:
    """A site; a context manager.

    Args:
        pages: path and query to a page's HTML, to a whole answer, or to a function that gives either.
        validators: whether pages have an ``ETag``.
        latency: seconds before each answer.
        address: the IP address to listen on.
    """

    def __init__(
        self,
        pages: Mapping[str, Any] | None = None,
        *,
        validators: bool = True,
        latency: float = 0.0,
        address: str = "127.0.0.1",
    ) -> None:
        self.pages: dict[str, Any] = dict(pages or {})
        self.validators = validators
        self.latency = latency
        self.missing: Callable[[str], Any] = lambda _path: (404, {}, b"not found")
        self.requests: Counter[str] = Counter()
        self.bodies: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}
        self.in_flight = 0
        self.most_in_flight = 0
        self._lock = threading.Lock()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_GET(self) -> None:
                site._serve(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server((address, 0), Handler)
        self.port = self._server.server_port
        self.host = f"{address}:{self.port}"
        self.url = f"http://{self.host}/"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forget(self) -> None:
        """Begin to count anew."""
        self.requests.clear()
        self.bodies.clear()
        self.most_in_flight = 0

    def at(self, path: str) -> str:
        """The address of a path."""
        return self.url.rstrip("/") + path

    def _serve(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        path = handler.path
        with self._lock:
            self.requests[path] += 1
            self.headers[path] = {name.lower(): value for name, value in handler.headers.items()}
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.latency:
            time.sleep(self.latency)
        answer = self.pages[path] if path in self.pages else self.missing(path)
        if callable(answer):
            answer = answer()
        status, headers, body = self._whole(path, answer)
        tag = f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"'
        if status == 200 and self.validators:
            headers = {**headers, "ETag": tag}
            if handler.headers.get("If-None-Match") == tag:
                status, body = 304, b""
        with self._lock:
            self.in_flight -= 1
            if status == 200:
                self.bodies[path] += 1
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if status != 304:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    @staticmethod
    def _whole(path: str, answer: Any) -> Answer:
        if isinstance(answer, tuple):
            return answer[0], dict(answer[1]), answer[2]
        if isinstance(answer, str):
            answer = answer.encode()
        kind = "text/html; charset=utf-8"
        for ending, other in ((".txt", "text/plain"), (".md", "text/markdown"), (".xml", "application/xml")):
            kind = other if path.endswith(ending) else kind
        return 200, {"Content-Type": kind}, answer


def redirect(target: str, status: int = 302) -> Answer:
    """Return a redirect."""
    return status, {"Location": target}, b""


def urlset(*urls: str, modified: str = "") -> str:
    """Return a sitemap."""
    date = f"<lastmod>{modified}</lastmod>" if modified else ""
    entries = "".join(f"<url><loc>{url}</loc>{date}</url>" for url in urls)
    return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'
