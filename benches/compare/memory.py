"""What a process holds, as the operating system counts it."""

from __future__ import annotations

from pathlib import Path

MEASURES = {"RssAnon": "anonymous", "RssFile": "file", "VmHWM": "peak"}


def memory() -> dict[str, float]:
    """Return megabytes (10⁶ bytes): anonymous, of mapped files, and the most that was ever held."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key in MEASURES:
            found[MEASURES[key]] = int(value.split()[0]) * 1024 / 1e6
    return found
