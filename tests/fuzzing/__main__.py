"""Runs the fuzzer on one reader: ``python -m fuzzing TARGET [libFuzzer's options and folders…]`` with ``tests`` on the path.

It needs Atheris (``pip install --group fuzz``). At the end it prints runs and edges, as the targets of the core do.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["clockify_rag", "idna"]):
    import idna  # noqa: F401 - loaded here, so that it is instrumented

    from fuzzing import targets


def main() -> None:
    """Fuzz the target that the first argument names."""
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in targets.TARGETS:
        sys.exit(f"error: there is no target {name!r}\nhint: one of {', '.join(targets.TARGETS)}")
    atheris.Setup(sys.argv, targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
