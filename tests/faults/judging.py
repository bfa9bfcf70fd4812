"""A reader that is asked again and again whether an index still says the truth; ``python -m faults.judging INDEX``.

It is a process of its own, because damage may kill or hang whoever reads, and that is for the test to see. Each line of its
input asks once; the line of output says what each use of the index came to: a digest of what it gave, or the error's code.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from clockify_rag.errors import ClockifyRagError
from faults import indexes

PATIENCE = 20
"""Seconds after which the process kills itself, because it hangs."""


def uses(index: Path) -> Mapping[str, Callable[[], str]]:
    """What is done with an index, each time opened anew."""

    def documents() -> str:
        opened = indexes.open_pipeline(index).index
        return str([(found, opened.text(found.id), opened.chunks(found.id)) for found in opened.documents()])

    def verify() -> str:
        indexes.verify(index)
        return "verified"

    return {"answers": lambda: indexes.answers(index), "documents": documents, "verify": verify}


def judge(use: Callable[[], str]) -> str:
    """Return what a use came to."""
    try:
        return hashlib.sha256(use().encode()).hexdigest()
    except ClockifyRagError as error:
        return f"error {error.exit_code} {error.code}"


def main(index: Path) -> None:
    """Answer until nobody asks."""
    wanted = uses(index)
    for _ in sys.stdin:
        signal.alarm(PATIENCE)
        print(json.dumps({name: judge(use) for name, use in wanted.items()}), flush=True)
        signal.alarm(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
