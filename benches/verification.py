"""Speed of verification: answers of about 300 words against 8 chunks.

    python benches/verification.py [--repeat N]

The chunks are those that questions on the example help centre find. An answer is made of their sentences, each with its number, a third
of them in quotation marks and a fifth with a figure put in, so that everything that verification does is done. The processor time is that of
``QuoteVerifier.verify`` alone, in this thread; beside the median stands what the extractive generator's own answers take.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from clockify_rag import sentences
from clockify_rag.config import Settings
from clockify_rag.contracts import Context, Draft, Query
from clockify_rag.generation import ExtractiveGenerator
from clockify_rag.labelling import read_questions
from clockify_rag.pipeline import Pipeline
from clockify_rag.verification import QuoteVerifier

EXAMPLE = Path(__file__).parents[1] / "examples" / "help-center"
WORDS, CHUNKS, ANSWERS = 300, 8, 40


def context_of(pipeline: Pipeline, question: str) -> Context:
    """Return the best chunks of a question as a context."""
    hits = pipeline.search(question, top_k=CHUNKS).hits
    return Context(hits=hits, texts=tuple(hit.chunk.text for hit in hits), tokens=0)


def answer_of(context: Context) -> str:
    """Return a text of about as many words as are wanted, from all chunks in turn."""
    units = [[text[start:end] for start, end in sentences.units(text)] for text in context.texts]
    parts: list[str] = []
    row = words = 0
    while words < WORDS:
        place, number = row % len(units), row // len(units)
        sentence = units[place][number % len(units[place])].strip(' "')
        sentence = f"{sentence} in 17 hours" if row % 5 == 4 else sentence
        sentence = f'"{sentence}"' if row % 3 == 0 else sentence
        parts.append(f"{sentence} [{place + 1}]." + ("\n\n" if row % 6 == 5 else ""))
        words += len(sentence.split())
        row += 1
    return " ".join(parts)


def milliseconds(verifier: QuoteVerifier, query: Query, context: Context, draft: Draft, repeat: int) -> list[float]:
    """Return how long each of some verifications took, after one that is not counted."""
    verifier.verify(query, context, draft)
    times = []
    for _ in range(repeat):
        begun = time.thread_time()
        verifier.verify(query, context, draft)
        times.append(1000 * (time.thread_time() - begun))
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=20)
    repeat = parser.parse_args().repeat
    asked = [one.question for one in read_questions(EXAMPLE / "development.jsonl").questions][:ANSWERS]
    verifier, extractive = QuoteVerifier(), ExtractiveGenerator()
    written: list[float] = []
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder) / "index", Settings())
        pipeline.build([EXAMPLE / "docs"])
        for question in asked:
            query = pipeline.understander.understand(question)
            context = context_of(pipeline, question)
            written += milliseconds(verifier, query, context, Draft(text=answer_of(context)), repeat)
            taken += milliseconds(verifier, query, context, extractive.generate(query, context), repeat)
    for name, times in ((f"a model's {WORDS} words", written), ("extractive", taken)):
        print(
            f"{name}: median {median(times):.3f} ms, 95 of 100 below {quantiles(times, n=20)[-1]:.3f} ms, {len(times)} runs"
        )


if __name__ == "__main__":
    main()
