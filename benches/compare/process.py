"""A contender's process as its parent sees it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from contender import CONTENDERS
from corpus import corpus_folder
from environments import interpreter

HERE = Path(__file__).parent

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)
"""A question has one thread, whoever answers it; builds have all."""


class Failed(Exception):
    """A contender could not do what it was asked; its message is the result."""


class Process:
    """One contender over one corpus, in its own interpreter."""

    def __init__(self, name: str, size: str, dimension: int, *, all_threads: bool = False) -> None:
        self.name = name
        self.size = size
        self.dimension = dimension
        self.store = (
            corpus_folder(size) / "stores" / f"{(CONTENDERS[name].shares or name).replace(' ', '_')}-{dimension}"
        )
        ours = CONTENDERS[name].family is None
        found = os.environ.get("PYTHONPATH") if ours else None
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *([found] if found else [])])}
        environment |= {} if all_threads else ONE_THREAD
        environment |= {"HF_HUB_OFFLINE": "1", "HAYSTACK_TELEMETRY_ENABLED": "False", "TOKENIZERS_PARALLELISM": "false"}
        words = [
            interpreter(CONTENDERS[name].family),
            HERE / "worker.py",
            name,
            corpus_folder(size),
            dimension,
            self.store,
        ]
        self._process = subprocess.Popen(
            list(map(str, words)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def do(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Carry out one command in the process.

        Raises:
            Failed: with what the contender raised, or that its process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"{self.name}: its process ended with {self._process.wait()}") from None
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"{self.name}: its process ended with {self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise Failed(f"{self.name}: {reply['error']}")
        return reply
