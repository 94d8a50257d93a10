"""What a trainer is given with each attempt."""

from __future__ import annotations

import pytest

from autotune.engine import run_search


@pytest.mark.parametrize(("asked", "given"), [("2GB", 2 * 10**9), (None, None)])
def test_trainers_know_the_cache_and_its_limit(plan, fake_fit, asked, given):
    """Trials and the measuring of epochs are told where the cache is and how large it may be."""
    seen = []

    def fit(recipe, data, run):
        seen.append((run.cache, run.cache_limit))
        yield from fake_fit(recipe, data, run)

    def seconds(recipe, data, run):
        seen.append((run.cache, run.cache_limit))
        return 0.01

    made = plan(fit, seconds=seconds, time=20.0, trials=1, cache_size=asked)
    run_search(made)
    assert len(seen) == 2
    assert set(seen) == {(made.cache, given)}
