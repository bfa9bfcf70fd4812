"""A transformer's folder that ONNX Runtime runs: what embedding and reranking share of one.

The extra ``onnx`` is one package of 68 MB, where ``sentence-transformers`` brings 3 GB: tokens are the core's, which are those of
the package ``tokenizers``. A vocabulary that is not WordPiece needs that package. Nothing is ever fetched, and nothing is opened
before it is needed.

A session runs one text, or one pair, at a time and on one thread, so that neither what stands beside it nor the number of threads
changes a bit: a model in 8 bits scales its activations by the largest in its whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from clockify_rag.errors import InvalidSetting, MissingExtra
from clockify_rag.plugins import of_extra

if TYPE_CHECKING:
    from clockify_rag import _core

MODEL_FILES = ("model.onnx", "onnx/model.onnx")
"""Where a folder's model is looked for."""

_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})


class Encoder(Protocol):
    """Turns texts into the ids of their tokens; the core's ``Tokenizer`` is one."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text's tokens, special tokens not included."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""


class Template(msgspec.Struct, frozen=True):
    """The special tokens around one text or a pair of them."""

    parts: tuple[tuple[tuple[int, ...] | None, int], ...]
    """In order: the ids of special tokens, or ``None`` where the next text stands; and the type of these tokens."""

    def filled(self, texts: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
        """Return the ids and the types of the tokens of ``texts`` with the special ones."""
        ids: list[int] = []
        types: list[int] = []
        rest = iter(texts)
        for special, kind in self.parts:
            tokens = next(rest) if special is None else special
            ids += tokens
            types += [kind] * len(tokens)
        return ids, types


class _SpecialToken(msgspec.Struct):
    ids: tuple[int, ...]


class _Member(msgspec.Struct):
    id: str
    type_id: int = 0


class _Piece(msgspec.Struct):
    """A member of a template: a special token, or a text."""

    special: _Member | None = msgspec.field(name="SpecialToken", default=None)
    sequence: _Member | None = msgspec.field(name="Sequence", default=None)


class _PostProcessor(msgspec.Struct):
    type: str
    single: list[_Piece] = []
    pair: list[_Piece] = []
    special_tokens: dict[str, _SpecialToken] = {}
    cls: tuple[str, int] | None = None
    sep: tuple[str, int] | None = None


class _TokenizerFile(msgspec.Struct):
    post_processor: _PostProcessor | None = None


class _Positions(msgspec.Struct):
    max_position_embeddings: int | None = None


class OnnxFolder:
    """A folder with ``model.onnx`` or ``onnx/model.onnx`` and ``tokenizer.json``.

    Args:
        model: the folder, as it was given.
        what: what the model is for, as messages say it, such as ``embedding``.
        setting: the setting that names it, such as ``embedding.model``.
        export: the command that makes such a folder.
        otherwise: what helps where the folder cannot be used.
        file: the model's file in the folder, where it has another name.
    """

    def __init__(
        self, model: str, *, what: str, setting: str, export: str, otherwise: str, file: str | None = None
    ) -> None:
        self.path = Path(model).expanduser()
        self._model = model
        self._what = what
        self._setting = setting
        self._export = export
        self._otherwise = otherwise
        self._file = file

    @cached_property
    def session(self) -> Any:
        """ONNX Runtime's session.

        Raises:
            MissingExtra: ONNX Runtime is not installed.
            InvalidSetting: the file is not there or cannot be loaded.
        """
        runtime = of_extra("onnx", "onnxruntime")
        file = self._model_file()
        runtime.disable_telemetry_events()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what fails is raised
        try:
            return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no class in common but this one
            raise self.unusable(f"{file.name} cannot be loaded: {reason(error)}") from error

    @cached_property
    def inputs(self) -> frozenset[str]:
        """The inputs that the model asks for."""
        names = frozenset(given.name for given in self.session.get_inputs())
        if strange := sorted(names - _INPUTS):
            raise self.unusable(f"it asks for the input {', '.join(strange)}")
        return names

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The names of what the model puts out."""
        return tuple(made.name for made in self.session.get_outputs())

    @cached_property
    def wordpiece(self) -> _core.Tokenizer:
        """The core's tokenizer over the folder's vocabulary, which must be WordPiece."""
        from clockify_rag import _core

        file = self.require("tokenizer.json")
        try:
            return _core.Tokenizer(str(file))
        except InvalidSetting as error:
            raise self.unusable(str(error.fields.get("reason", error.message))) from error

    @cached_property
    def encoder(self) -> Encoder:
        """The tokenizer of the folder's vocabulary, of whatever kind."""
        try:
            return self.wordpiece
        except InvalidSetting:
            file = self.require("tokenizer.json")
            try:
                library = import_module("tokenizers")
            except ImportError as error:
                raise MissingExtra(
                    f"the vocabulary of the {self._what} model {self._model} is not WordPiece, which needs the package tokenizers",
                    hint="pip install tokenizers",
                    package="tokenizers",
                ) from error
            try:
                return _Foreign(library.Tokenizer.from_file(str(file)))
            except Exception as error:  # tokenizers raises nothing more particular
                raise self.unusable(f"tokenizer.json cannot be read: {reason(error)}") from error

    @cached_property
    def _post_processor(self) -> _PostProcessor | None:
        read = self.decoded("tokenizer.json", _TokenizerFile)
        return None if read is None else read.post_processor

    @cached_property
    def single(self) -> Template:
        """What stands around one text."""
        processor = self._post_processor
        if processor is None:
            return Template(((None, 0),))
        if processor.cls is not None and processor.sep is not None:
            cls, sep = (processor.cls[1],), (processor.sep[1],)
            return Template(((cls, 0), (None, 0), (sep, 0)))
        return _template(processor, processor.single)

    @cached_property
    def pair(self) -> Template:
        """What stands around two texts.

        Raises:
            InvalidSetting: the tokenizer says nothing of pairs.
        """
        processor = self._post_processor
        if processor is not None and processor.cls is not None and processor.sep is not None:
            cls, sep = (processor.cls[1],), (processor.sep[1],)
            if processor.type == "RobertaProcessing":
                return Template(((cls, 0), (None, 0), (sep + sep, 0), (None, 0), (sep, 0)))
            return Template(((cls, 0), (None, 0), (sep, 0), (None, 1), (sep, 1)))
        found = Template(()) if processor is None else _template(processor, processor.pair)
        if sum(special is None for special, _ in found.parts) != 2:  # noqa: PLR2004 - a pair
            raise self.unusable("its tokenizer.json does not say how two texts are put together")
        return found

    @property
    def positions(self) -> int | None:
        """The most tokens that ``config.json`` says the model takes."""
        read: _Positions | None = self.decoded("config.json", _Positions)
        return None if read is None else read.max_position_embeddings

    def run(self, output: str, ids: Sequence[int], types: Sequence[int]) -> Any:
        """Return one output for one text or pair of texts, an array whose first axis has one row.

        Raises whatever ONNX Runtime raises.
        """
        import numpy as np

        tokens = np.array([ids], dtype=np.int64)
        given: Mapping[str, Any] = {
            "input_ids": tokens,
            "attention_mask": np.ones_like(tokens),
            "token_type_ids": np.array([types], dtype=np.int64),
        }
        return np.asarray(self.session.run([output], {name: given[name] for name in self.inputs})[0])

    def _model_file(self) -> Path:
        if self._file is not None:
            return self.require(self._file)
        found = (self.path / name for name in MODEL_FILES)
        return next((file for file in found if file.is_file()), None) or self.require(MODEL_FILES[0])

    def require(self, name: str) -> Path:
        """Return a file of the folder; raises ``InvalidSetting`` where it is not there."""
        file = self.path / name
        if not file.is_file():
            missing = f"has no {name}" if self.path.is_dir() else "is not on this machine"
            raise InvalidSetting(
                f"the folder {self._model} of the {self._what} model {missing}",
                hint=f'{self._export}, then set {self._setting} = "FOLDER"',
                model=self._model,
            )
        return file

    def decoded(self, name: str, kind: Any) -> Any:
        """Return what a JSON file of the folder says, or ``None`` where there is no such file."""
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=kind)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise self.unusable(f"{name} cannot be read: {reason(error)}") from error

    def unusable(self, why: str) -> InvalidSetting:
        """Return the error that says why the model cannot be used."""
        return InvalidSetting(
            f"the {self._what} model {self._model} cannot be used: {why}", hint=self._otherwise, model=self._model
        )


class _Foreign:
    """A tokenizer of the package ``tokenizers``, as the core's."""

    def __init__(self, tokenizer: Any) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self.encode(texts)]


def _template(processor: _PostProcessor, pieces: Sequence[_Piece]) -> Template:
    parts: list[tuple[tuple[int, ...] | None, int]] = []
    for piece in pieces:
        if piece.sequence is not None:
            parts.append((None, piece.sequence.type_id))
        elif piece.special is not None and (token := processor.special_tokens.get(piece.special.id)) is not None:
            parts.append((token.ids, piece.special.type_id))
    return Template(tuple(parts))


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def reason(error: Exception) -> str:
    """Return the first line of what a library says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
