"""The one client of model servers: JSON requests and streams of lines, with four deadlines and typed errors.

Deadlines are kept at the socket: before every single ``recv`` its time-out is set to what the nearest deadline leaves,
so that a server that sends one byte a second, in its headers as in its body, still ends when the total does. Every
request has a connection of its own. A model works for longer than a handshake takes, and a fresh connection cannot be a
stale one: when it is refused nothing was sent, so trying again is safe.

Redirects are not followed, bodies are bounded and not decompressed, and proxies of the environment serve only TLS:
plain HTTP would show them the question. API keys travel in one header and appear in no message.
"""

from __future__ import annotations

import contextlib
import email.utils
import io
import ipaddress
import json
import os
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import msgspec

from clockify_rag.errors import (
    BackendBadResponse,
    BackendError,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    InvalidSetting,
)

if TYPE_CHECKING:
    import socket

    import requests

Phase = Literal["connect", "first", "between", "total"]

_OLLAMA_PORT = 11434
_OPENAI_URL = "https://api.openai.com/v1"
_URL = re.compile(
    r"(?P<scheme>https?)://(?:(?P<user>[A-Za-z0-9._~!$&'()*+,;=:%-]*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?)"
    r"(?::(?P<port>\d{1,5}))?(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*)",
    re.IGNORECASE,
)
_WAITING = {
    "connect": "did not accept a connection within {0:g} s",
    "first": "sent nothing within {0:g} s",
    "between": "stopped for more than {0:g} s in the middle of its answer",
    "total": "did not finish within {0:g} s",
}
_PAUSE_SECONDS = 0.25
_READ_BYTES = 65_536
_SHOWN_CHARACTERS = 200
_SUCCESS, _REDIRECTION = 2, 3


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """How long each part of a request may take, in seconds."""

    connect: float = 2.0
    """To be connected."""
    first: float = 60.0
    """From the request's start to the first line of a stream, or the first byte of any other answer."""
    between: float = 30.0
    """From one line of a stream to the next, or from one piece of any other answer to the next."""
    total: float = 300.0
    """From the request's start to the answer's end, retries included."""


def loopback(url: str) -> bool:
    """Say whether ``url`` names this machine's loopback interface."""
    host = _host(url)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def sent_to(url: str) -> tuple[str, ...]:
    """Return the host of ``url``, or nothing when it is this machine."""
    return () if loopback(url) else (_host(url),)


def _host(url: str) -> str:
    return _split(url)["host"].strip("[]").rstrip(".").casefold()


def _split(url: str) -> dict[str, str]:
    # Parsers disagree on where the host of an odd URL begins, and what is said of a host must hold for the one
    # connected to. So only URLs that no two parsers read differently are taken.
    match = _URL.fullmatch(url)
    if match is None or int(match["port"] or 1) not in range(1, 65_536):
        shown = re.sub(r"//[^/]*@", "//", _clean(url))
        raise InvalidSetting(
            f"The address {shown!r} of a model server is not an http:// or https:// URL without query",
            hint="write it as http://localhost:11434",
            url=shown,
        )
    return match.groupdict(default="")


class Clock:
    """The deadlines of one request, as time-outs for the next operation on its socket."""

    def __init__(self, deadlines: Deadlines, now: Callable[[], float] = time.monotonic) -> None:
        self._deadlines = deadlines
        self._now = now
        self._start = now()
        self._phase: Phase = "first"
        self._since = self._start
        self.expired: Phase | None = None

    def progress(self) -> None:
        """Note that the answer went on."""
        self._phase = "between"
        self._since = self._now()

    def remaining(self) -> float:
        """Return the seconds until the nearest deadline; raises ``TimeoutError`` when it has passed, and remembers
        which.
        """
        now = self._now()
        span = self._deadlines.first if self._phase == "first" else self._deadlines.between
        phase, left = min(
            ((self._phase, self._since + span - now), ("total", self._start + self._deadlines.total - now)),
            key=lambda pair: pair[1],
        )
        self.expired = phase
        if left <= 0:
            raise TimeoutError(phase)
        return left

    def connecting(self) -> float:
        """Return the seconds that connecting may take."""
        return min(self._deadlines.connect, self.remaining())

    def wait(self, seconds: float) -> bool:
        """Sleep if the first byte could still come in time afterwards, and say whether it did."""
        try:
            left = self.remaining()
        except TimeoutError:
            return False
        if seconds >= left:
            return False
        time.sleep(seconds)
        return True

    def seconds(self, phase: Phase) -> float:
        """Return the length of the deadline ``phase``."""
        return float(getattr(self._deadlines, phase))


class _TimedReader(io.RawIOBase):
    """A socket's file whose every read has the time-out of the clock."""

    def __init__(self, connection: socket.socket, clock: Clock) -> None:
        self._socket = connection
        self._file = connection.makefile("rb", buffering=0)
        self._clock = clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._clock.remaining())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _TimedSocket:
    """A connected socket, plain or TLS, that reads and writes under the clock."""

    def __init__(self, connection: socket.socket, clock: Clock) -> None:
        self._socket = connection
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def makefile(self, *_arguments: Any, **_options: Any) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._socket, self._clock))

    def sendall(self, data: Any) -> None:
        self._socket.settimeout(self._clock.remaining())
        self._socket.sendall(data)


class ModelServer:
    """A model server at one address. Making one neither imports ``requests`` nor opens a socket.

    Args:
        url: its base URL; paths are appended.
        name: what messages call it.
        api_key: sent as a bearer token when not empty.
        deadlines: how long the parts of a request may take.
        retries: how often a request is sent again after a refused connection, or after 429 or 503 with a
        ``Retry-After`` that
            leaves time before the first deadline.
        start_hint: what the user can type when nothing listens there.
        key_hint: what the user can do when the key is refused.
        maximum_bytes: the longest answer that is read.
        maximum_line_bytes: the longest line of a stream that is read.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "the model server",
        api_key: str = "",
        deadlines: Deadlines | None = None,
        retries: int = 1,
        start_hint: str = "",
        key_hint: str = "",
        maximum_bytes: int = 256 << 20,
        maximum_line_bytes: int = 1 << 20,
    ) -> None:
        parts = _split(url)
        self.url = url.rstrip("/")
        self.name = name
        self.deadlines = deadlines or Deadlines()
        self._shown = self.url.replace(f"{parts['user']}@", "", 1) if parts["user"] else self.url
        self._key = api_key
        self._secrets = tuple(s for s in (api_key, parts["user"].partition(":")[2]) if s)
        self._retries = retries
        self._start_hint = start_hint
        self._key_hint = key_hint
        self._maximum_bytes = maximum_bytes
        self._maximum_line_bytes = maximum_line_bytes

    def __repr__(self) -> str:
        return f"ModelServer({self._shown!r})"

    @classmethod
    def ollama(cls, url: str | None = None, *, deadlines: Deadlines | None = None, retries: int = 1) -> ModelServer:
        """Return the Ollama server at ``url``, or where ``OLLAMA_HOST`` says, or at its usual port on this machine."""
        address = ollama_url(os.environ.get("OLLAMA_HOST", "")) if url is None else url
        hint = "ollama serve" if loopback(address) else "check the address of the server, and that it listens there"
        return cls(address, name="Ollama", deadlines=deadlines, retries=retries, start_hint=hint)

    @classmethod
    def openai(
        cls,
        url: str | None = None,
        *,
        api_key: str | None = None,
        deadlines: Deadlines | None = None,
        retries: int = 1,
    ) -> ModelServer:
        """Return the OpenAI-compatible server at ``url`` (with its ``/v1``), by default OpenAI's, key by
        ``OPENAI_API_KEY``.
        """
        return cls(
            _OPENAI_URL if url is None else url,
            name="the OpenAI-compatible server",
            api_key=(os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key).strip(),
            deadlines=deadlines,
            retries=retries,
            start_hint="start the server, or check its address",
            key_hint="export OPENAI_API_KEY=...",
        )

    @property
    def sent_to(self) -> tuple[str, ...]:
        """The server's host, unless it is this machine."""
        return sent_to(self.url)

    def json(self, path: str, body: Mapping[str, Any] | None = None, *, kind: Any = Any, rejected: str = "") -> Any:
        """Request ``path`` and return the JSON it answers.

        Args:
            path: begins with ``/``.
            body: posted as JSON; with ``None`` the request is a GET.
            kind: the type that the JSON must have.
            rejected: the hint when the server says that it knows no such model.

        Raises:
            BackendUnavailable, BackendTimeout, BackendRejected, BackendBadResponse
        """
        with self._exchange(path, body, rejected) as answer:
            content = bytearray()
            for piece in answer.pieces():
                answer.clock.progress()
                content += piece
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self.bad_response(f"answered {_described(bytes(content[:512]))} ({_clean(str(error))})") from error

    def lines(
        self, path: str, body: Mapping[str, Any], *, rejected: str = "", deadlines: Deadlines | None = None
    ) -> Generator[bytes]:
        """Post ``body`` to ``path`` and yield the lines of the answer as they come, without their ends and without
        blank ones.

        The time the caller spends between two lines counts only towards the total. Lines that begin with a colon are
        the comments of a server that wants to be taken as alive: they are dropped and move no deadline.

        Args:
            path: begins with ``/``.
            body: posted as JSON.
            rejected: the hint when the server says that it knows no such model.
            deadlines: of this request; by default the server's.

        Raises:
            BackendUnavailable, BackendTimeout, BackendRejected, BackendBadResponse
        """
        with self._exchange(path, body, rejected, deadlines) as answer:
            pending = bytearray()
            for piece in answer.pieces():
                pending += piece
                if b"\n" not in piece:
                    self._check_line(len(pending))
                    continue
                *complete, rest = pending.split(b"\n")
                pending = rest
                for line in complete:
                    self._check_line(len(line))
                    if (stripped := bytes(line.strip())) and not stripped.startswith(b":"):
                        yield stripped
                        answer.clock.progress()
                self._check_line(len(pending))
            if last := bytes(pending.strip()):
                yield last

    def bad_response(self, what: str) -> BackendBadResponse:
        """Return the error that says that the server ``what``."""
        return BackendBadResponse(
            self._message(what),
            hint="check that the address is that of the kind of server configured",
            url=self._shown,
        )

    def rejected(self, reason: str, hint: str = "", status: int | None = None) -> BackendRejected:
        """Return the error that says that the server refused with ``reason``, in its own words."""
        return BackendRejected(
            self._message(f"refused the request: {self.redact(reason)}"), hint=hint, url=self._shown, status=status
        )

    def redact(self, text: str) -> str:
        """Return ``text`` as one short line without control codes and without this server's secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _clean(text)

    @property
    def described(self) -> str:
        """How messages begin that speak of it."""
        return f"{self.name[:1].upper()}{self.name[1:]} at {self._shown}"

    def _message(self, what: str) -> str:
        return f"{self.described} {what}"

    def _check_line(self, length: int) -> None:
        if length > self._maximum_line_bytes:
            raise self.bad_response(f"sent a line of more than {self._maximum_line_bytes} bytes")

    @contextlib.contextmanager
    def _exchange(
        self, path: str, body: Mapping[str, Any] | None, rejected: str, deadlines: Deadlines | None = None
    ) -> Iterator[_Answer]:
        clock = Clock(deadlines or self.deadlines)
        with contextlib.ExitStack() as stack:
            response = self._send(path, body, clock, rejected, stack)
            yield _Answer(self, response, clock, self._maximum_bytes)

    def _send(
        self, path: str, body: Mapping[str, Any] | None, clock: Clock, rejected: str, stack: contextlib.ExitStack
    ) -> requests.Response:
        data = None if body is None else json.dumps(body).encode()
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = self._request(path, data, clock, stack)
            except Exception as error:  # noqa: BLE001 - three libraries raise errors of their own; all become ours
                # Refused before anything was sent: a server that is being restarted.
                if last or not _refused(error) or not clock.wait(_PAUSE_SECONDS):
                    self.fail(error, clock)
                continue
            if response.status_code // 100 == _SUCCESS:
                encoding = response.headers.get("Content-Encoding", "identity").lower()
                if encoding != "identity":
                    raise self.bad_response(f"answered in the encoding {_clean(encoding)!r}, which was not asked for")
                return response
            after = _retry_after(response)
            if last or response.status_code not in (429, 503) or after is None or not clock.wait(after):
                raise self._status_error(response, clock, rejected)
        raise AssertionError("unreachable")  # pragma: no cover

    def _request(self, path: str, data: bytes | None, clock: Clock, stack: contextlib.ExitStack) -> requests.Response:
        import requests

        session = stack.enter_context(requests.Session())
        # Not the session's own reading of the environment: a .netrc entry would replace the key.
        session.trust_env = False
        adapter = _timed_adapter(clock)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json", "Connection": "close"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        secure = self.url.lower().startswith("https:") and not loopback(self.url)
        return stack.enter_context(
            session.request(
                "GET" if data is None else "POST",
                self.url + path,
                data=data,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=(clock.connecting(), clock.seconds("first")),
                proxies=requests.utils.get_environ_proxies(self.url) if secure else {},
                verify=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True,
            )
        )

    def _status_error(self, response: requests.Response, clock: Clock, rejected: str) -> BackendError:
        status = response.status_code
        reason = self._reason(response, clock)
        if status // 100 == _REDIRECTION:
            return self.bad_response(f"answered {status}, a redirect, which is not followed")
        if status in (502, 503, 504):
            return BackendUnavailable(
                self._message(f"is not available: {status} {reason}"),
                hint="try again, or look at the server's log",
                url=self._shown,
                status=status,
            )
        hint = ""
        if status in (401, 403):
            hint = self._key_hint
        elif status in (400, 404) and "model" in reason.lower():
            hint = rejected
        elif status == HTTPStatus.NOT_FOUND:
            hint = "check the path of the server's address"
        elif status == HTTPStatus.TOO_MANY_REQUESTS:
            hint = "wait, or raise the limit at the server"
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            hint = "look at the server's log"
        return self.rejected(f"{status} {reason}", hint, status)

    def _reason(self, response: requests.Response, clock: Clock) -> str:
        content = b""
        with contextlib.suppress(BackendError):
            for piece in _Answer(self, response, clock, self._maximum_bytes).pieces():
                clock.progress()
                content += piece
                if len(content) > _READ_BYTES:
                    break
        try:
            return self.redact(error_text(msgspec.json.decode(content)) or response.reason or "")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self.redact(response.reason or _described(content))

    def fail(self, error: Exception, clock: Clock) -> NoReturn:
        """Raise ``error``, which came from the network, as one of ours."""
        if isinstance(error, BackendError):
            raise error
        chain = list(_causes(error))
        names = {type(link).__name__ for link in chain}
        connecting = bool(names & {"ConnectTimeoutError", "ConnectTimeout"})
        if connecting or any(isinstance(link, TimeoutError) for link in chain) or "ReadTimeoutError" in names:
            phase: Phase = "connect" if connecting else clock.expired or "total"
            seconds = clock.seconds(phase)
            raise BackendTimeout(
                self._message(_WAITING[phase].format(seconds)),
                hint=self._start_hint if connecting else "raise the deadline, or take a smaller model",
                url=self._shown,
                deadline=phase,
                seconds=seconds,
            ) from error
        if names & {"BadStatusLine", "LineTooLong", "InvalidHeader", "HeaderParsingError", "UnknownProtocol"}:
            raise self.bad_response("answered something that is not HTTP") from error
        raise BackendUnavailable(
            self._message(f"cannot be reached: {_why(chain, names)}"), hint=self._start_hint, url=self._shown
        ) from error


class _Answer:
    """A response that has begun."""

    def __init__(self, server: ModelServer, response: requests.Response, clock: Clock, maximum_bytes: int) -> None:
        self._server = server
        self._response = response
        self._maximum_bytes = maximum_bytes
        self.clock = clock

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes."""
        total = 0
        while True:
            try:
                piece = self._response.raw.read1(_READ_BYTES, decode_content=False)
            except Exception as error:  # noqa: BLE001 - as above
                self._server.fail(error, self.clock)
            if not piece:
                return
            total += len(piece)
            if total > self._maximum_bytes:
                raise self._server.bad_response(f"sent more than {self._maximum_bytes} bytes")
            yield piece


def ollama_url(host: str) -> str:
    """Return the URL that ``OLLAMA_HOST`` means: scheme and port may be missing, and every address means this
    machine.
    """
    host = host.strip().strip("\"'").rstrip("/")
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = "http", host
    default = {"http": 80, "https": 443}[scheme] if separator and scheme in ("http", "https") else _OLLAMA_PORT
    rest, slash, path = rest.partition("/")
    if rest.count(":") > 1 and not rest.startswith("["):
        rest = f"[{rest}]"
    name, port = rest, ""
    if match := re.fullmatch(r"(.*?)(?::(\d*))?", rest if not rest.endswith("]") else ""):
        name, port = (match[1], match[2] or "") if match[0] else (rest, "")
    if name in ("", "0.0.0.0", "[::]"):  # noqa: S104 - the address a server listens on, not ours
        name = "[::1]" if name == "[::]" else "127.0.0.1"
    return f"{scheme}://{name}:{port or default}{slash}{path}"


def error_text(value: Any) -> str:
    """Return the message of an error object of Ollama or of an OpenAI-compatible server; empty when it is none."""
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, dict):
        error = error.get("message") or error.get("code") or "an error without a message"
    return error if isinstance(error, str) else "" if error is None else "an error without a message"


def _timed_adapter(clock: Clock) -> requests.adapters.HTTPAdapter:
    from requests.adapters import HTTPAdapter

    class TimedAdapter(HTTPAdapter):
        def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
            pool: Any = super().get_connection_with_tls_context(*arguments, **options)
            make = pool.ConnectionCls

            def make_timed(*arguments: Any, **options: Any) -> Any:
                connection = make(*arguments, **options)
                connect = connection.connect

                def connect_timed() -> None:
                    connect()
                    connection.sock = _TimedSocket(connection.sock, clock)

                connection.connect = connect_timed
                return connection

            pool.ConnectionCls = make_timed
            return pool

    return TimedAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and the errors within it: libraries chain, wrap as an argument, or keep a ``reason``."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        link = waiting.pop(0)
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [*link.args, getattr(link, "reason", None), link.__cause__, link.__context__]


def _refused(error: BaseException) -> bool:
    return any(isinstance(link, ConnectionRefusedError) for link in _causes(error))


def _why(chain: list[BaseException], names: set[str]) -> str:
    if names & {"NameResolutionError", "gaierror"}:
        return "its name has no address"
    if names & {"ProxyError"}:
        return "the proxy of the environment failed"
    if names & {"SSLError", "SSLCertVerificationError"}:
        return "no secure connection could be made"
    if names & {"ConnectionRefusedError"}:
        return "connection refused"
    for link in chain:
        if isinstance(link, OSError) and link.strerror:
            return f"the connection broke ({link.strerror.lower()})"
    return "the connection was closed before the answer was complete"


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _described(content: bytes) -> str:
    start = content.lstrip()[:64].lower()
    if not start:
        return "nothing"
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml")):
        return "a page instead of JSON"
    return "something that is not the JSON expected"


def _clean(text: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 3] + "..."
