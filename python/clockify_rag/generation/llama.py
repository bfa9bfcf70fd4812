"""A model out of a GGUF file, run in this process by llama.cpp (extra ``llama``).

The library brings llama.cpp's server, which listens whether it is wanted or not: on a port of the loopback interface that the system
chooses, here behind a key that is drawn for it and known to this process alone. So it is asked through that door, by the protocol and
the client of every other server: deadlines, cancellation and errors are the same code. A model is loaded by the first question, once
for all generators of the process that run it alike, and let go with the last of them.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from clockify_rag._http import Deadlines, ModelServer
from clockify_rag.errors import BackendUnavailable, InvalidSetting, MissingExtra
from clockify_rag.generation.openai import ChatCompletionsGenerator

_QUIET = -1


class LlamaGenerator(ChatCompletionsGenerator):
    """A GGUF file that is run in this process.

    Args:
        model: path of the file.
        threads: threads that compute; by default half of the processor's. One is fastest where others are busy.
        context_tokens: of the longest prompt and answer together.
        connect_seconds, first_token_seconds, between_tokens_seconds, total_seconds: deadlines; loading is not within them.
        **chat: the further arguments of ``ChatGenerator``.

    Raises:
        InvalidSetting: no model is given, or there is no such file.
    """

    component = "llama"
    missing_model = "check the path of the model's file"

    def __init__(
        self,
        model: str = "",
        *,
        threads: int | None = None,
        context_tokens: int = 8192,
        connect_seconds: float = 2.0,
        first_token_seconds: float = 60.0,
        between_tokens_seconds: float = 20.0,
        total_seconds: float = 300.0,
        **chat: Any,
    ) -> None:
        file = Path(model).expanduser()
        if not model or not file.is_file():
            raise InvalidSetting(
                f"the generator 'llama' needs the path of a GGUF file, and {f'{model} is none' if model else 'none is set'}",
                hint='set generation.model = "PATH.gguf"',
                setting="generation.model",
                model=model,
            )
        if threads is not None and threads < 1:
            raise InvalidSetting(f"threads of the generator is {threads}, and must be at least 1", setting="threads")
        self.context_tokens = context_tokens
        self._deadlines = Deadlines(
            connect=connect_seconds, first=first_token_seconds, between=between_tokens_seconds, total=total_seconds
        )
        self._key = _Key(str(file.resolve()), threads or max(1, (os.cpu_count() or 1) // 2), context_tokens)
        self._loaded: _Loaded | None = None
        chat["options"] = {"cache_prompt": False, **(chat.get("options") or {})}
        super().__init__(self._running, file.name, **chat)

    def _running(self) -> ModelServer:
        loaded = self._loaded
        if loaded is None or loaded.process != os.getpid():
            loaded = self._loaded = _load(self._key)
        return loaded.client(self._deadlines)

    @property
    def described(self) -> str:
        """How messages begin that speak of it."""
        return f"The model {self.model} in this process"

    @property
    def sent_to(self) -> tuple[str, ...]:
        """No host: it is this process."""
        return ()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of the model's own tokens of each text. Loads the model.

        Raises:
            BackendError: the model cannot be loaded.
        """
        server = self.server
        return [
            len(server.json("/tokenize", {"content": text, "add_special": False}, kind=_Tokens).tokens) if text else 0
            for text in texts
        ]


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Key(msgspec.Struct, frozen=True):
    """What makes two loaded models the same."""

    file: str
    threads: int
    context_tokens: int


class _Loaded:
    """A model in memory and the server that runs it, as long as someone holds this."""

    def __init__(self, key: _Key) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            raise MissingExtra(
                "The generator 'llama' needs packages that are not installed",
                hint='pip install "clockify-rag[llama]"',
                extra="llama",
            ) from error
        self.process = os.getpid()
        self._secret = secrets.token_hex(16)
        parameters = xllamacpp.CommonParams()
        parameters.model.path = key.file
        parameters.n_ctx = key.context_tokens
        parameters.n_parallel = 1
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = key.threads
        parameters.fit_params = parameters.warmup = parameters.ui = parameters.endpoint_slots = False
        parameters.cache_ram_mib = 0
        parameters.api_keys = [self._secret]
        parameters.verbosity = _QUIET
        parameters.offline = True
        try:
            self._server = xllamacpp.Server(parameters)
        except RuntimeError as error:
            raise BackendUnavailable(
                f"The model {key.file} cannot be loaded: {error}",
                hint="check that it is a whole GGUF file and fits into memory",
                model=key.file,
            ) from error

    def client(self, deadlines: Deadlines) -> ModelServer:
        return ModelServer(
            self._server.listening_address,
            name="the model's server in this process",
            api_key=self._secret,
            deadlines=deadlines,
        )


_models: WeakValueDictionary[tuple[int, _Key], _Loaded] = WeakValueDictionary()
_loading = threading.Lock()


def _load(key: _Key) -> _Loaded:
    """Return the model of this process: threads do not survive a fork, so a child loads its own."""
    with _loading:
        loaded = _models.get((os.getpid(), key))
        if loaded is None:
            loaded = _models[os.getpid(), key] = _Loaded(key)
        return loaded
