"""A transformer in this process by ONNX Runtime, from a folder on this machine.

The extra ``onnx`` is one package of 68 MB, where ``sentence-transformers`` brings 3 GB: tokens are the core's, which are
those of the package ``tokenizers``, and one vector is made of a text's tokens here.

A text is run by itself, never in a batch. A model in 8 bits scales its activations by the largest in the whole batch, so that a
text's vector would depend on the texts beside it (cosine to the one by itself .996 on the mean and .990 at worst, in batches of
32): it could not be cached, and an index built again would rank otherwise. Nothing is lost by it, for there is no padding: a thread
embedded 62 abstracts a second one by one, 55 in batches of 8, 51 in batches of 32. More threads run more texts, each by one
thread, so that their number changes no bit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from clockify_rag.embedding import ModelEmbedder, known_model, of_extra
from clockify_rag.errors import InvalidSetting

if TYPE_CHECKING:
    from clockify_rag import _core
    from clockify_rag.contracts import Vectors

MODEL_FILES = ("model.onnx", "onnx/model.onnx")
"""Where a folder's model is looked for."""

POOLINGS = ("mean", "cls")
"""How token vectors become one vector: their mean, or the first token's."""

_EXPORT = "optimum-cli export onnx --model sentence-transformers/all-MiniLM-L6-v2 FOLDER"
_MODULES = ("Transformer", "Pooling", "Normalize")


class _Window(msgspec.Struct):
    max_seq_length: int | None = None


class _Positions(msgspec.Struct):
    max_position_embeddings: int | None = None


class _Module(msgspec.Struct):
    type: str


class _SpecialToken(msgspec.Struct):
    ids: list[int]


class _Name(msgspec.Struct):
    id: str


class _Piece(msgspec.Struct):
    """A member of the template of one text: a special token, or the text."""

    special: _Name | None = msgspec.field(name="SpecialToken", default=None)


class _PostProcessor(msgspec.Struct):
    type: str
    single: list[_Piece] = []
    special_tokens: dict[str, _SpecialToken] = {}
    cls: tuple[str, int] | None = None
    sep: tuple[str, int] | None = None


class _TokenizerFile(msgspec.Struct):
    post_processor: _PostProcessor | None = None


class OnnxEmbedder(ModelEmbedder):
    """A model that ONNX Runtime runs in this process (an extra). Nothing is ever fetched.

    Args:
        model: a folder with ``model.onnx`` or ``onnx/model.onnx`` and ``tokenizer.json``, whose model is WordPiece.
        file: the model's file in the folder, where it has another name.
        pooling: ``mean`` or ``cls``; by default what ``1_Pooling/config.json`` in the folder says, else what is known of the
            model by its name, else the mean.
        threads: texts that are embedded at the same time; by default one for each core that may be used.
        window_tokens: the longest input in the model's tokens; by default what ``sentence_bert_config.json`` says, else what
            is known of the model by its name, else what its positions allow.
        **options: ``question_prefix`` and ``passage_prefix`` of ``ModelEmbedder``.
    """

    margin = 1.0

    def __init__(
        self,
        model: str | None = None,
        *,
        file: str | None = None,
        pooling: str | None = None,
        threads: int | None = None,
        window_tokens: int | None = None,
        question_prefix: str | None = None,
        passage_prefix: str | None = None,
    ) -> None:
        if not model:
            raise InvalidSetting(
                "the embedder 'onnx' needs the folder of a model",
                hint='set embedding.model = "FOLDER"',
                setting="model",
            )
        if pooling not in {None, *POOLINGS}:
            raise InvalidSetting(
                f"pooling of an embedder is {pooling!r}", hint=f"there are: {', '.join(POOLINGS)}", setting="pooling"
            )
        if threads is not None and threads < 1:
            raise InvalidSetting(f"threads of an embedder is {threads}, and must be at least 1", setting="threads")
        super().__init__(
            model,
            question_prefix=question_prefix,
            passage_prefix=passage_prefix,
            window_tokens=window_tokens,
            batch_size=1,
            workers=threads or _cores(),
        )
        self.folder = Path(model).expanduser()
        self.window_tokens = window_tokens  # what is known by name comes second to what the folder says
        self._file = file
        self._given_pooling = pooling

    @cached_property
    def _session(self) -> Any:
        runtime = of_extra("onnx", "onnxruntime")
        file = self._model_file()
        runtime.disable_telemetry_events()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what fails is raised
        try:
            return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no class in common but this one
            raise self._unusable(f"{file.name} cannot be loaded: {_reason(error)}") from error

    @cached_property
    def _inputs(self) -> frozenset[str]:
        names = frozenset(given.name for given in self._session.get_inputs())
        if strange := sorted(names - {"input_ids", "attention_mask", "token_type_ids"}):
            raise self._unusable(f"it asks for the input {', '.join(strange)}")
        return names

    @cached_property
    def _output(self) -> str:
        """The output that holds whole vectors where there is one, else that of the tokens."""
        names = [made.name for made in self._session.get_outputs()]
        return "sentence_embedding" if "sentence_embedding" in names else str(names[0])

    @cached_property
    def _wordpiece(self) -> _core.Tokenizer:
        from clockify_rag import _core

        file = self._require("tokenizer.json")
        try:
            return _core.Tokenizer(str(file))
        except InvalidSetting as error:
            raise self._unusable(str(error.fields.get("reason", error.message))) from error

    @cached_property
    def _frame(self) -> tuple[list[int], list[int]]:
        """The ids of the special tokens before and after a text."""
        read = self._decoded("tokenizer.json", _TokenizerFile)
        processor = None if read is None else read.post_processor
        if processor is None:
            return [], []
        if processor.cls is not None and processor.sep is not None:
            return [processor.cls[1]], [processor.sep[1]]
        frame: tuple[list[int], list[int]] = ([], [])
        after = 0
        for piece in processor.single:
            if piece.special is None:
                after = 1
            elif (token := processor.special_tokens.get(piece.special.id)) is not None:
                frame[after].extend(token.ids)
        return frame

    @cached_property
    def _pooling(self) -> str:
        if self._given_pooling is not None:
            return self._given_pooling
        settings = self._decoded("1_Pooling/config.json", dict[str, Any])
        if settings is None:
            return known_model(self.model).pooling
        chosen = [name for name, value in settings.items() if name.startswith("pooling_mode_") and value is True]
        if chosen == ["pooling_mode_mean_tokens"]:
            return "mean"
        if chosen == ["pooling_mode_cls_token"]:
            return "cls"
        raise self._unusable(f"its pooling is {' and '.join(chosen) or 'none'}")

    def _window(self) -> int | None:
        read: _Window | None = self._decoded("sentence_bert_config.json", _Window)
        if read is not None and read.max_seq_length:
            return read.max_seq_length
        if (known := known_model(self.model).window_tokens) is not None:
            return known
        positions: _Positions | None = self._decoded("config.json", _Positions)
        return None if positions is None else positions.max_position_embeddings

    def _load(self) -> None:
        """Open everything that decides what a vector is, once."""
        with self._loading:
            if self._tokenizer is not None:
                return
            for module in self._decoded("modules.json", list[_Module]) or []:
                if module.type.rpartition(".")[2] not in _MODULES:
                    raise self._unusable(f"it has a part that is not in its file: {module.type}")
            _ = self._session, self._inputs, self._output, self._frame, self._pooling
            self.window_tokens = self.window_tokens or self._window()
            self._tokenizer = self._wordpiece

    def _embed(self, texts: Sequence[str], prefix: str) -> Vectors:
        self._load()
        return super()._embed(texts, prefix)

    def _rows(self, texts: list[str]) -> Vectors:
        import numpy as np

        return np.concatenate([self._row(ids) for ids in self._wordpiece.encode(texts)])

    def _row(self, ids: list[int]) -> Vectors:
        """Return the vector of one text's tokens, shape ``(1, width)``."""
        import numpy as np

        before, after = self._frame
        tokens = np.array([[*before, *ids, *after]], dtype=np.int64)
        given = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "token_type_ids": np.zeros_like(tokens)}
        try:
            made = self._session.run([self._output], {name: given[name] for name in self._inputs})[0]
        except Exception as error:  # as above
            raise self._bad(f"cannot embed {tokens.shape[1]} tokens: {_reason(error)}") from error
        made = np.asarray(made)
        if made.ndim == 3:  # noqa: PLR2004 - texts, tokens, numbers
            made = made[:, 0] if self._pooling == "cls" else made.mean(axis=1, dtype=np.float32)
        row: Vectors = made
        return row

    def _model_file(self) -> Path:
        if self._file is not None:
            return self._require(self._file)
        found = (self.folder / name for name in MODEL_FILES)
        return next((file for file in found if file.is_file()), None) or self._require(MODEL_FILES[0])

    def _require(self, name: str) -> Path:
        file = self.folder / name
        if not file.is_file():
            missing = f"has no {name}" if self.folder.is_dir() else "is not on this machine"
            raise InvalidSetting(
                f"the folder {self.model} of the embedding model {missing}",
                hint=f'{_EXPORT}, then set embedding.model = "FOLDER"',
                model=self.model,
            )
        return file

    def _decoded(self, name: str, kind: Any) -> Any:
        """Return what a JSON file of the folder says, or ``None`` where there is no such file."""
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=kind)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise self._unusable(f"{name} cannot be read: {_reason(error)}") from error

    def _unusable(self, why: str) -> InvalidSetting:
        return InvalidSetting(
            f"the embedding model {self.model} cannot be used: {why}",
            hint='pip install "clockify-rag[sentence-transformers]" and set embedding.embedder = "sentence-transformers"',
            model=self.model,
        )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _reason(error: Exception) -> str:
    """Return the first line of what a library says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
