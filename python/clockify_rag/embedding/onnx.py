"""A transformer in this process by ONNX Runtime, from a folder on this machine.

A text is run by itself, never in a batch. A model in 8 bits scales its activations by the largest in the whole batch, so that a
text's vector would depend on the texts beside it (cosine to the one by itself .996 on the mean and .990 at worst, in batches of
32): it could not be cached, and an index built again would rank otherwise. Nothing is lost by it, for there is no padding: a thread
embedded 62 abstracts a second one by one, 55 in batches of 8, 51 in batches of 32. More threads run more texts, each by one
thread, so that their number changes no bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from clockify_rag._onnx import OnnxFolder, cores, reason
from clockify_rag.embedding import ModelEmbedder, known_model
from clockify_rag.errors import InvalidSetting

if TYPE_CHECKING:
    from clockify_rag.contracts import Vectors

POOLINGS = ("mean", "cls")
"""How token vectors become one vector: their mean, or the first token's."""

_MODULES = ("Transformer", "Pooling", "Normalize")


class _Window(msgspec.Struct):
    max_seq_length: int | None = None


class _Module(msgspec.Struct):
    type: str


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
            workers=threads or cores(),
        )
        self.folder = OnnxFolder(
            model,
            what="embedding",
            setting="embedding.model",
            export="optimum-cli export onnx --model sentence-transformers/all-MiniLM-L6-v2 FOLDER",
            otherwise='pip install "clockify-rag[sentence-transformers]" and set embedding.embedder = "sentence-transformers"',
            file=file,
        )
        self.window_tokens = window_tokens  # what is known by name comes second to what the folder says
        self._given_pooling = pooling

    @cached_property
    def _output(self) -> str:
        """The output that holds whole vectors where there is one, else that of the tokens."""
        names = self.folder.outputs
        return "sentence_embedding" if "sentence_embedding" in names else names[0]

    @cached_property
    def _pooling(self) -> str:
        if self._given_pooling is not None:
            return self._given_pooling
        settings = self.folder.decoded("1_Pooling/config.json", dict[str, Any])
        if settings is None:
            return known_model(self.model).pooling
        chosen = [name for name, value in settings.items() if name.startswith("pooling_mode_") and value is True]
        if chosen == ["pooling_mode_mean_tokens"]:
            return "mean"
        if chosen == ["pooling_mode_cls_token"]:
            return "cls"
        raise self.folder.unusable(f"its pooling is {' and '.join(chosen) or 'none'}")

    def _window(self) -> int | None:
        read: _Window | None = self.folder.decoded("sentence_bert_config.json", _Window)
        if read is not None and read.max_seq_length:
            return read.max_seq_length
        if (known := known_model(self.model).window_tokens) is not None:
            return known
        return self.folder.positions

    def _load(self) -> None:
        """Open everything that decides what a vector is, once."""
        with self._loading:
            if self._tokenizer is not None:
                return
            for module in self.folder.decoded("modules.json", list[_Module]) or []:
                if module.type.rpartition(".")[2] not in _MODULES:
                    raise self.folder.unusable(f"it has a part that is not in its file: {module.type}")
            _ = self.folder.inputs, self._output, self.folder.single, self._pooling
            self.window_tokens = self.window_tokens or self._window()
            self._tokenizer = self.folder.wordpiece

    def _embed(self, texts: Sequence[str], prefix: str) -> Vectors:
        self._load()
        return super()._embed(texts, prefix)

    def _rows(self, texts: list[str]) -> Vectors:
        import numpy as np

        return np.concatenate([self._row(ids) for ids in self.folder.wordpiece.encode(texts)])

    def _row(self, ids: list[int]) -> Vectors:
        """Return the vector of one text's tokens, shape ``(1, width)``."""
        import numpy as np

        tokens, types = self.folder.single.filled([ids])
        try:
            made = self.folder.run(self._output, tokens, types)
        except Exception as error:  # ONNX Runtime's errors have no class in common but this one
            raise self._bad(f"cannot embed {len(tokens)} tokens: {reason(error)}") from error
        if made.ndim == 3:  # noqa: PLR2004 - texts, tokens, numbers
            made = made[:, 0] if self._pooling == "cls" else made.mean(axis=1, dtype=np.float32)
        row: Vectors = made
        return row
