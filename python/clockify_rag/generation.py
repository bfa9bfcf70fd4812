"""Generators: an answer from a context, by the source's own sentences or by a model.

The default writes nothing of its own. It takes the passages that say most of what was asked, or the one list of steps when
the question asks how, out of the best chunks, says where each stands, and so cannot be wrong about what the documentation
says; it needs no model and takes two milliseconds. The others ask a chat model over a stream, so that every deadline is seen to hold while it writes.

Page text is data to the prompt: it stands between markers that carry an HMAC of generation, question and chunk ids. A
page's author cannot guess them, yet they are equal on every run, so answers at temperature 0 are too.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import importlib.resources
import itertools
import json
import re
import secrets
import shlex
from collections.abc import Generator as Generating
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from clockify_rag import passages, sentences
from clockify_rag._http import Deadlines, ModelServer, error_text
from clockify_rag.contracts import Context, Draft, Failure, Hit, Query
from clockify_rag.errors import BackendError, InvalidSetting
from clockify_rag.passages import Passage

REFUSALS: Mapping[str, str] = {
    "en": "The documentation does not answer this question.",
    "de": "Die Dokumentation beantwortet diese Frage nicht.",
    "fr": "La documentation ne répond pas à cette question.",
    "es": "La documentación no responde a esta pregunta.",
    "pt": "A documentação não responde a esta pergunta.",
    "it": "La documentazione non risponde a questa domanda.",
    "nl": "De documentatie geeft geen antwoord op deze vraag.",
    "pl": "Dokumentacja nie odpowiada na to pytanie.",
    "sv": "Dokumentationen besvarar inte den här frågan.",
    "da": "Dokumentationen besvarer ikke dette spørgsmål.",
    "cs": "Dokumentace na tuto otázku neodpovídá.",
    "tr": "Belgeler bu soruyu yanıtlamıyor.",
    "ru": "В документации нет ответа на этот вопрос.",
    "uk": "У документації немає відповіді на це запитання.",
    "ja": "この質問の答えはドキュメントにありません。",
    "zh": "文档没有回答这个问题。",
    "ko": "문서에 이 질문에 대한 답이 없습니다.",
}
"""The sentence that refuses, by ISO 639-1 code."""

_HOW = re.compile(
    r"\s*(?:please\s+)?(?:how\s+(?:do|can|to|should|could|would|does|might|must)\b|(?:what\s+are\s+)?(?:the\s+)?steps\b"
    r"|(?:what\s+is\s+the\s+)?(?:best\s+)?way\s+to\b|where\s+(?:do|can|should)\s+(?:i|we|you)\b|(?:i|we)\s+(?:want|need)\s+to\b"
    r"|wie\s+(?!viele?|lange?|oft|hoch)|comment\b|c[oó]mo\b|come\b|jak\s+(?!długo|często)|hoe\s+(?!veel|lang|vaak)"
    r"|hur\b|hvordan\b|как\b|як\b)",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\s*(?:what|which|when|who|whom|whose|why|where|is|are|was|does|do|did|can|could|will|would|should|may|has|have"
    r"|how|was|wann|wer|welche[rsn]?|warum|wo|ist|sind|kann|que|quel(?:le)?s?|quand|qui|pourquoi|où|est|qué|cuál|cuándo"
    r"|quién|cosa|quale|quando|chi|co|kto|kiedy|czy|wat|wie|wanneer|welke)\b",
    re.IGNORECASE,
)
_NAMES = re.compile(
    r"\s*(?:what(?:'s|’s|\s+is|\s+are)\b|was\s+(?:ist|sind)\b|qu['’]est-ce\b|qué\s+(?:es|son)\b|che\s+cos|o\s+que\s+é|wat\s+(?:is|zijn)\b"
    r"|(?:[\w-]+\s*){1,3}$)",
    re.IGNORECASE,
)
_HEADING_SHARE = 0.25
_FIRST_SHARE = 0.1
_DEFINITION_SHARE = 0.6
_PLACE_DECAY = 0.85
_LEAD_WEIGHT = 0.5
_LABEL_SHARE = 0.15
_DEPENDENT_WEIGHT = 0.8
_STEPS_WEIGHT = 0.85
_KEPT_SHARE = 0.65
_NEW_SHARE = 0.1
_REPEATED_SHARE = 0.9
_PASSAGES = 3
_STEP_PLACES = 3
_STEP_MINIMUM = 0.3


def refusal_text(language: str, replacements: Mapping[str, str] | None = None) -> str:
    """Return the sentence that refuses in ``language``, in English where there is none.

    Args:
        language: ISO 639-1 code of the question; may be empty.
        replacements: sentences to use instead, by the same codes; the one for the empty code replaces all others.
    """
    replaced = replacements or {}
    for code in (language, ""):
        if code in replaced:
            return replaced[code]
    return REFUSALS.get(language) or replaced.get("en") or REFUSALS["en"]


class ExtractiveGenerator:
    """Answers with the documentation's own passages, or with a whole list of steps.

    Args:
        maximum_words: the words of an answer at most.
        maximum_step_words: the words of an answer at most that is one list of steps.
    """

    sent_to: tuple[str, ...] = ()

    def __init__(self, maximum_words: int = 120, maximum_step_words: int = 200) -> None:
        for name, value in (("maximum_words", maximum_words), ("maximum_step_words", maximum_step_words)):
            if value < 1:
                raise InvalidSetting(f"{name} of the generator is {value}, and must be at least 1", setting=name)
        self.maximum_words = maximum_words
        self.maximum_step_words = maximum_step_words

    def generate(self, query: Query, context: Context) -> Draft:
        """Return the answer: passages with a blank line between them, each with its marker behind it; empty when nothing can
        be quoted.

        Args:
            query: what is asked.
            context: what may be quoted.
        """
        chosen = self._chosen(query, context)
        text = "\n\n".join(f"{passage.text} [{passage.place + 1}]" for passage in chosen)
        return Draft(text=text, quotes=tuple((passage.place, passage.span) for passage in chosen))

    def stream(self, query: Query, context: Context) -> Iterator[str]:
        """Yield the answer line by line."""
        yield from self.generate(query, context).text.splitlines(keepends=True)

    def _chosen(self, query: Query, context: Context) -> list[Passage]:
        shown = [text for hit, text in zip(context.hits, context.texts, strict=True) if hit.chunk.kind != "hub"]
        texts = [text[start:end] for text in shown for start, end in sentences.units(text)]
        above = ["\n".join(passages.headings(hit)) for hit in context.hits]
        overlap = sentences.Overlap(query.text, [*texts, *above])
        found = passages.find(
            context, overlap, maximum_words=self.maximum_words, maximum_step_words=self.maximum_step_words
        )
        if steps := _steps(query, context, found):
            return [steps]
        held = dict(zip(texts, overlap.found, strict=False))
        scores = [_score(query, passage, overlap, held, context.hits[passage.place]) for passage in found]
        order = sorted(range(len(found)), key=lambda row: (-scores[row], row))
        if not order:
            return []
        if scores[order[0]] <= 0:
            # Found by its meaning alone: the beginning of the best chunk says most.
            return found[:1]
        best = found[order[0]]
        said = overlap.held(best.text)
        chosen = [self._with_what_it_points_at(context, found, best)]
        for row in order[1:]:
            passage = found[row]
            new = overlap.held(passage.text) - said
            enough = _KEPT_SHARE if overlap.share(new) >= _NEW_SHARE else _REPEATED_SHARE
            words = passage.words + sum(one.words for one in chosen)
            if len(chosen) == _PASSAGES or scores[row] < enough * scores[order[0]] or words > self.maximum_words:
                continue
            if not any(one.place == passage.place and one.start <= passage.start < one.end for one in chosen):
                chosen.append(passage)
                said |= new
        return _merged(context, chosen)

    def _with_what_it_points_at(self, context: Context, found: Sequence[Passage], passage: Passage) -> Passage:
        row = found.index(passage)
        if row and passages.depends(passage):
            longer = passages.joined(context, found[row - 1], passage)
            if longer is not None and longer.words <= self.maximum_words:
                return longer
        return passage


def _steps(query: Query, context: Context, found: Sequence[Passage]) -> Passage | None:
    """Return the list of steps that answers a question of how to do something; ``None`` where there is none."""
    if not _HOW.match(query.text) and _ASKS.match(query.text):
        return None
    lists = [passage for passage in found if passage.steps and passage.place < _STEP_PLACES]
    texts = ["\n".join([*passages.headings(context.hits[one.place]), one.text]) for one in lists]
    overlap = sentences.Overlap(query.text, texts)
    shares = [overlap.share(held) * _PLACE_DECAY**one.place for one, held in zip(lists, overlap.found, strict=True)]
    best = max(range(len(lists)), key=lambda row: (shares[row], -row), default=None)
    return None if best is None or shares[best] < _STEP_MINIMUM else lists[best]


def _score(
    query: Query, passage: Passage, overlap: sentences.Overlap, held: Mapping[str, frozenset[str]], hit: Hit
) -> float:
    """Return how well a passage answers.

    What it and the best of its sentences say of the question, what stands above it, and how good its hit is.
    """
    above = passages.headings(hit)
    named, said = overlap.held("\n".join(above)), overlap.held(passage.text)
    pieces = [passage.text[start:end] for start, end in sentences.units(passage.text)]
    best = max((overlap.share(held.get(piece, frozenset())) for piece in pieces), default=0.0)
    score = (1 - _HEADING_SHARE) * (overlap.share(said) + best) / 2 + _HEADING_SHARE * overlap.share(said | named)
    if passage.first:
        score += _FIRST_SHARE * overlap.share(named)
        if _NAMES.match(query.text) and overlap.share(overlap.held(above[-1])) >= 1:
            score += _DEFINITION_SHARE
    if title := passages.label(passage):
        score += _LABEL_SHARE * overlap.share(overlap.held(title))
    for weak, weight in (
        (passage.bare or passage.text.endswith(("?", "\uff1f")), _LEAD_WEIGHT),
        (passages.depends(passage), _DEPENDENT_WEIGHT),
        (passage.steps, _STEPS_WEIGHT),
    ):
        score *= weight if weak else 1
    return score * _PLACE_DECAY**passage.place if said or passage.first else 0.0


def _merged(context: Context, chosen: Sequence[Passage]) -> list[Passage]:
    """Return the passages by hit, the best passage's first, and neighbours as one."""
    places = list(dict.fromkeys(passage.place for passage in chosen))
    merged: list[Passage] = []
    for passage in sorted(chosen, key=lambda one: (places.index(one.place), one.start)):
        longer = passages.joined(context, merged[-1], passage) if merged else None
        if longer is None:
            merged.append(passage)
        else:
            merged[-1] = longer
    return merged


def mark(secret: bytes, generation: int, question: str, chunk_ids: Sequence[str], texts: Sequence[str] = ()) -> str:
    """Return the code of a prompt's markers: 16 hexadecimal digits that no one without ``secret`` can foresee.

    Args:
        secret: known to the owner of the index only.
        generation: of the index.
        question: as it was asked.
        chunk_ids: of the passages, in order.
        texts: what the code must not occur in.
    """
    for attempt in itertools.count():
        message = json.dumps([generation, question, list(chunk_ids), attempt]).encode()
        code = hmac.new(secret, message, hashlib.sha256).hexdigest()[:16]
        if not any(code in text for text in texts):
            return code
    raise AssertionError("unreachable")  # pragma: no cover


def prompt(query: Query, context: Context, code: str) -> str:
    """Return the user's part of the prompt: the passages between their markers, then the question.

    Args:
        query: what is asked.
        context: the passages.
        code: what ``mark`` returned for them.
    """
    parts = [
        f"<passage {number} {code}>\n{_where(hit)}\n{text}\n</passage {number} {code}>\n"
        for number, (hit, text) in enumerate(zip(context.hits, context.texts, strict=True), 1)
    ]
    return "\n".join([*parts, f"Question: {query.question}"])


def parse_prompt(text: str, code: str) -> list[str]:
    """Return the passages of a prompt that ``prompt`` made with ``code``, exactly as they were given."""
    found: list[str] = []
    position = 0
    for number in itertools.count(1):
        opening = f"<passage {number} {code}>\n"
        start = text.find(opening, position)
        if start < 0:
            return found
        body = text.index("\n", start + len(opening)) + 1
        position = text.index(f"\n</passage {number} {code}>\n", body)
        found.append(text[body:position])
    raise AssertionError("unreachable")  # pragma: no cover


def _where(hit: Hit) -> str:
    return " > ".join(" ".join(heading.split()) for heading in dict.fromkeys(passages.headings(hit)))


@lru_cache(maxsize=1)
def _rules() -> str:
    path = importlib.resources.files("clockify_rag").joinpath("prompts", "answer.txt")
    return path.read_text("utf-8")


class ChatGenerator:
    """What the generators that ask a chat model share. Subclasses say how a request and a line of the stream look.

    Args:
        server: where the model is.
        model: its name.
        secret: of the prompt's markers; kept beside the index. Without it one is drawn for this object.
        maximum_words: what the model is told not to exceed.
        max_tokens: after which the model is stopped.
        options: further fields of the request's options, of the server's own kind; ``None`` leaves a field out.
    """

    def __init__(
        self,
        server: ModelServer,
        model: str,
        *,
        secret: bytes | None = None,
        maximum_words: int = 200,
        max_tokens: int = 1024,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.server = server
        self.maximum_words = maximum_words
        self.max_tokens = max_tokens
        self.options = dict(options or {})
        self._secret = secrets.token_bytes(32) if secret is None else secret

    @property
    def sent_to(self) -> tuple[str, ...]:
        """The server's host, unless it is this machine."""
        return self.server.sent_to

    def messages(self, query: Query, context: Context) -> list[dict[str, str]]:
        """Return the chat that is sent: the rules, then the passages and the question."""
        ids = [hit.chunk.id for hit in context.hits]
        texts = [query.question, *context.texts, *(_where(hit) for hit in context.hits)]
        code = mark(self._secret, context.generation, query.question, ids, texts)
        rules = _rules().replace("{mark}", code).replace("{words}", str(self.maximum_words))
        return [{"role": "system", "content": rules}, {"role": "user", "content": prompt(query, context, code)}]

    def stream(self, query: Query, context: Context) -> Iterator[str]:
        """Yield the answer's text as it is written.

        Raises:
            BackendError: the server failed; what was yielded before is incomplete.
        """
        written = False
        with contextlib.closing(self._stream(self.messages(query, context))) as pieces:
            for piece in pieces:
                written = written or bool(piece.strip())
                yield piece
        if not written:
            raise self.server.bad_response("answered without any text")

    def generate(self, query: Query, context: Context) -> Draft:
        """Return the whole answer, or what there is of it when the stream breaks off after its beginning.

        Raises:
            BackendError: the server failed before it wrote anything.
        """
        pieces: list[str] = []
        failure: Failure | None = None
        try:
            pieces.extend(self.stream(query, context))
        except BackendError as error:
            if not "".join(pieces).strip():
                raise
            failure = Failure(code=error.code, message=error.message, hint=error.hint)
        text = "".join(pieces).strip()
        return Draft(text=text, incomplete=failure is not None, failure=failure, sent_to=self.sent_to)

    def _stream(self, messages: list[dict[str, str]]) -> Generating[str]:
        raise NotImplementedError

    def _decoded(self, line: bytes) -> dict[str, Any]:
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            page = line[:1] == b"<"
            what = "a page instead of JSON" if page else "a line that is not JSON"
            raise self.server.bad_response(f"sent {what} in its stream") from error
        if reason := error_text(value):
            raise self.server.rejected(reason, "look at the server's log")
        if not isinstance(value, dict):
            raise self.server.bad_response("sent a line that is not a JSON object in its stream")
        return value

    def _text(self, value: Any) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.server.bad_response("sent content that is not text in its stream")
        return value

    def _ended(self, reason: Any) -> None:
        if reason == "length":
            raise self.server.rejected(f"the answer was longer than {self.max_tokens} tokens", "raise max_tokens")


class OllamaGenerator(ChatGenerator):
    """A model that Ollama serves, by ``/api/chat``.

    Args:
        model: as ``ollama list`` names it.
        url: the server; by default what ``OLLAMA_HOST`` says, else this machine.
        connect_seconds, first_token_seconds, between_tokens_seconds, total_seconds: deadlines.
        context_tokens: the context to ask for. Ollama cuts what does not fit silently, so it is never left to its
        default.
        **chat: ``secret``, ``maximum_words``, ``max_tokens`` and ``options`` of ``ChatGenerator``.
    """

    def __init__(
        self,
        model: str = "llama3.2",
        *,
        url: str | None = None,
        connect_seconds: float = 2.0,
        first_token_seconds: float = 60.0,
        between_tokens_seconds: float = 20.0,
        total_seconds: float = 300.0,
        context_tokens: int = 8192,
        **chat: Any,
    ) -> None:
        deadlines = Deadlines(
            connect=connect_seconds, first=first_token_seconds, between=between_tokens_seconds, total=total_seconds
        )
        super().__init__(ModelServer.ollama(url, deadlines=deadlines), model, **chat)
        self.context_tokens = context_tokens

    def _stream(self, messages: list[dict[str, str]]) -> Generating[str]:
        options: dict[str, Any] = {
            "seed": 0,
            "temperature": 0,
            "num_ctx": self.context_tokens,
            "num_predict": self.max_tokens,
            **self.options,
        }
        body = {
            "model": self.model,
            "messages": messages,
            "stream": True,
            "options": {name: value for name, value in options.items() if value is not None},
        }
        rejected = f"ollama pull {shlex.quote(self.model)}"
        with contextlib.closing(self.server.lines("/api/chat", body, rejected=rejected)) as lines:
            for line in lines:
                event = self._decoded(line)
                message = event.get("message")
                yield self._text(message.get("content") if isinstance(message, dict) else None)
                if event.get("done") is True:
                    self._ended(event.get("done_reason"))
                    return
        raise self.server.bad_response("ended its stream before it said that it was done")


class OpenAIGenerator(ChatGenerator):
    """A model behind ``/v1/chat/completions`` of OpenAI or of any compatible server.

    Args:
        model: the model's name.
        url: the server's base with ``/v1``; by default OpenAI's.
        api_key: by default what ``OPENAI_API_KEY`` says.
        connect_seconds, first_token_seconds, between_tokens_seconds, total_seconds: deadlines.
        **chat: ``secret``, ``maximum_words``, ``max_tokens`` and ``options`` of ``ChatGenerator``.
    """

    def __init__(
        self,
        model: str = "gpt-4o-mini",
        *,
        url: str | None = None,
        api_key: str | None = None,
        connect_seconds: float = 2.0,
        first_token_seconds: float = 60.0,
        between_tokens_seconds: float = 20.0,
        total_seconds: float = 300.0,
        **chat: Any,
    ) -> None:
        deadlines = Deadlines(
            connect=connect_seconds, first=first_token_seconds, between=between_tokens_seconds, total=total_seconds
        )
        super().__init__(ModelServer.openai(url, api_key=api_key, deadlines=deadlines), model, **chat)

    def _stream(self, messages: list[dict[str, str]]) -> Generating[str]:
        options: dict[str, Any] = {
            "seed": 0,
            "temperature": 0,
            "max_tokens": self.max_tokens,
            **self.options,
        }
        body = {
            "model": self.model,
            "messages": messages,
            "stream": True,
            **{name: value for name, value in options.items() if value is not None},
        }
        finished = None
        rejected = "check the name of the model"
        with contextlib.closing(self.server.lines("/chat/completions", body, rejected=rejected)) as lines:
            for line in lines:
                if line.startswith((b"event:", b"id:", b"retry:")):
                    continue
                data = line.removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    finished = finished or "stop"
                    break
                choices = self._decoded(data).get("choices")
                choice = choices[0] if isinstance(choices, list) and choices else None
                if isinstance(choice, dict):
                    delta = choice.get("delta")
                    yield self._text(delta.get("content") if isinstance(delta, dict) else None)
                    finished = choice.get("finish_reason") or finished
        self._ended(finished)
        if finished is None:
            raise self.server.bad_response("ended its stream before it said that it was done")
