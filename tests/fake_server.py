"""A model server that does what a script says, on a real socket of the loopback interface.

It speaks HTTP by hand, because no library can be made to send half a line and reset the connection. A script is a list of steps
for each request: bytes to send, seconds to wait, or how to end. ``ollama_answer``, ``openai_answer`` and the others are what the
real servers send.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Self

Step = bytes | float | Literal["close", "reset", "hang"]
Script = Sequence[Step]


class Request:
    """What a client sent."""

    def __init__(self, head: bytes, body: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _version = lines[0].split(" ", 2)
        self.headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        self.body = body

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class FakeServer:
    """Answers the n-th request with the n-th script, the last one for ever; a script may be a function of the request."""

    def __init__(self, *scripts: Script | Callable[[Request], Script]) -> None:
        self.scripts = list(scripts)
        self.requests: list[Request] = []
        self.disconnected = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.port: int = self._listener.getsockname()[1]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = _read(connection)
            if request is None:
                return
            with self._lock:
                script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
                self.requests.append(request)
            try:
                self._play(connection, script(request) if callable(script) else script)
            except OSError:
                self.disconnected.set()
                raise

    def _play(self, connection: socket.socket, script: Script) -> None:
        for step in script:
            if isinstance(step, bytes):
                connection.sendall(step)
            elif isinstance(step, float):
                self._stop.wait(step)
            elif step == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            elif step == "hang":
                self._hang(connection)
            else:
                return

    def _hang(self, connection: socket.socket) -> None:
        """Send nothing until the client has hung up."""
        connection.settimeout(0.1)
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                if not connection.recv(1):
                    self.disconnected.set()
                    return


def _read(connection: socket.socket) -> Request | None:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65_536)
        received += piece
        if not piece or received.startswith(b"\x16"):
            return None
    head, _, body = received.partition(b"\r\n\r\n")
    request = Request(head, body)
    length = int(request.headers.get("content-length", "0"))
    while len(request.body) < length:
        request.body += connection.recv(65_536)
    return request


def refused_url() -> str:
    """Return a URL where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def head(status: str = "200 OK", kind: str = "application/json", **headers: str) -> bytes:
    """Return a response's head; a body without ``Content_Length`` ends with the connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(body: Any, status: str = "200 OK", kind: str = "application/json", **headers: str) -> list[Step]:
    """Return the script of one whole response, ``body`` as JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [head(status, kind, Content_Length=str(len(content)), **headers) + content]


def chunked(pieces: Sequence[bytes], kind: str) -> list[Step]:
    """Return the script of a chunked response, one step for each piece."""
    steps: list[Step] = [head(kind=kind, Transfer_Encoding="chunked")]
    steps += [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    return [*steps, b"0\r\n\r\n"]


def ollama_lines(words: Sequence[str], reason: str = "stop") -> list[bytes]:
    """Return the lines of Ollama's ``/api/chat``."""
    lines: list[Any] = [
        {"model": "m", "message": {"role": "assistant", "content": word}, "done": False} for word in words
    ]
    lines.append({"model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": reason})
    return [json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines]


def ollama_answer(words: Sequence[str]) -> list[Step]:
    """Return the script of a whole answer of Ollama."""
    return chunked(ollama_lines(words), "application/x-ndjson")


def openai_events(words: Sequence[str], reason: str = "stop") -> list[bytes]:
    """Return the events of ``/v1/chat/completions``, its last ``[DONE]`` included."""
    choices: list[Any] = [{"index": 0, "delta": {"content": word}, "finish_reason": None} for word in words]
    choices.append({"index": 0, "delta": {}, "finish_reason": reason})
    events = [b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n" for choice in choices]
    return [*events, b"data: [DONE]\n\n"]


def openai_answer(words: Sequence[str]) -> list[Step]:
    """Return the script of a whole answer of an OpenAI-compatible server."""
    return chunked(openai_events(words), "text/event-stream")


def ollama_embeddings(vector: Callable[[str], Sequence[float]]) -> Callable[[Request], Script]:
    """Return a script that answers ``/api/embed`` with ``vector`` of each input."""
    return lambda request: answer({"model": "m", "embeddings": [list(vector(text)) for text in request.json["input"]]})


def openai_embeddings(
    vector: Callable[[str], Sequence[float]], *, backwards: bool = False
) -> Callable[[Request], Script]:
    """Return a script that answers ``/v1/embeddings``, its rows in any order, as the protocol allows."""

    def script(request: Request) -> Script:
        rows = [{"index": i, "embedding": list(vector(text))} for i, text in enumerate(request.json["input"])]
        return answer({"data": rows[::-1] if backwards else rows})

    return script


@contextlib.contextmanager
def serving(*scripts: Script | Callable[[Request], Script]) -> Iterator[FakeServer]:
    """Serve ``scripts`` for the length of a ``with`` block."""
    with FakeServer(*scripts) as server:
        yield server
