from __future__ import annotations

from autotune.vision import derive


def test_seeds_are_stable_and_separate():
    """The same purpose has the same seed everywhere; another purpose, epoch or trial has another."""
    assert derive(0, "order", 1) == 2961819992523135983
    seeds = {derive(s, p, e) for s in range(3) for p in ("order", "view") for e in range(4)}
    assert len(seeds) == 24
    assert all(0 <= s < 2**63 for s in seeds)
