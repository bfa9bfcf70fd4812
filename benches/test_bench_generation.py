"""What asking a model costs beside the model: whole questions to a server that answers at once, and that server alone.

The difference of the medians of the first two is the overhead over the model's own time. The server is a script on a socket, run by
a thread of the same interpreter, which makes both dearer than a model's would be.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clockify_rag.config import GenerationSettings, Settings
from clockify_rag.contracts import Context, Query
from clockify_rag.generation import OllamaGenerator
from clockify_rag.pipeline import Pipeline

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "examples" / "help-center" / "docs"
QUESTION = "How do I copy last week's timesheet?"
WORDS = ["Choose ", "Copy last week ", "[1]."] * 20

sys.path.append(str(ROOT / "tests"))


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A model server that answers at once."""
    import fake_server

    with fake_server.serving(fake_server.ollama_answer(WORDS)) as serving:
        yield serving


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, server: Any) -> Pipeline:
    """A pipeline over the example help centre that asks it."""
    table = GenerationSettings(generator="ollama", model="m", url=server.url)
    made = Pipeline(tmp_path_factory.mktemp("bench") / "index", Settings(generation=table))
    made.build([PAGES])
    made.ask(QUESTION)
    return made


def test_bench_ask_model(benchmark: Any, pipeline: Pipeline) -> None:
    """One question to its verified answer, by a model that answers at once."""
    assert benchmark(lambda: pipeline.ask(QUESTION, cached=False)).failure is None


def test_bench_server_alone(benchmark: Any, pipeline: Pipeline, server: Any) -> None:
    """The same request over a bare socket, read to its end."""
    pipeline.ask(QUESTION, cached=False)
    body = server.requests[-1].body
    head = f"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    def exchange() -> int:
        read = 0
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head + body)
            while piece := connection.recv(65_536):
                read += len(piece)
        return read

    assert benchmark(exchange) > 1000


def test_bench_prompt(benchmark: Any, pipeline: Pipeline) -> None:
    """The messages for one question."""
    generator = OllamaGenerator("m", secret=b"s")
    hits = pipeline.search(QUESTION).hits
    query = Query(question=QUESTION, text=QUESTION)
    context: Context = pipeline.packer.pack(query, hits)
    assert benchmark(generator.messages, query, context)
