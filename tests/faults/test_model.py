"""An index beside a plain dictionary, through random changes, builds, kills and restarts."""

from __future__ import annotations

from faults import sweeping
from faults.conftest import MORE, SEED, Sweeper


def test_an_index_is_what_a_dictionary_is(sweeper: Sweeper) -> None:
    """``make faults`` takes twenty thousand steps."""
    steps = 300 * MORE
    (found,) = sweeper.run("faults.modelling", sweeping.Share(number=0, workers=1, seed=SEED, sample=steps))
    print(f"FAULT_SEED={SEED} {found['counts']}")
    assert found["wrong"] == []
    assert found["counts"]["steps"] == steps
