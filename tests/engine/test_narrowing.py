"""Which candidates stay, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune import Backbone, Facts, Screening, Weights
from autotune.engine.narrowing import (
    Candidate,
    most_candidates,
    narrowed,
    ordered,
    priors,
    with_candidates,
)


def seen(name, score, seconds=0.001, *, prior=0.5, images=1000):
    """A candidate that was looked at."""
    look = Screening(images=images, seconds=seconds, scores={"knn": score - 0.01, "linear": score + 0.01})
    return Candidate(name=name, screening=look, prior=prior, cost=seconds)


def names(candidates):
    """Their names."""
    return [candidate.name for candidate in candidates]


def narrow(*candidates, most=8, images=1000, left=float("inf")):
    """The verdicts by name, in their order."""
    return {verdict.name: verdict for verdict in narrowed(candidates, most=most, images=images, left=left)}


def kept(verdicts):
    """The names of those that stay, in their order."""
    return [name for name, verdict in verdicts.items() if verdict.kept]


def test_what_was_seen_decides_the_order():
    """The mean of the scores ranks candidates that are further apart than chance explains."""
    assert names(ordered([seen("a", 0.7), seen("b", 0.9), seen("c", 0.8)])) == ["b", "c", "a"]


def test_near_ties_are_broken_by_the_prior():
    """Within a standard error the better known one comes first; beyond it, the prior says nothing."""
    assert names(ordered([seen("a", 0.900, prior=0.1), seen("b", 0.895, prior=0.9)])) == ["b", "a"]
    assert names(ordered([seen("a", 0.95, prior=0.1), seen("b", 0.895, prior=0.9)])) == ["a", "b"]
    few = [seen("a", 0.95, prior=0.1, images=20), seen("b", 0.91, prior=0.9, images=20)]
    assert names(ordered(few)) == ["b", "a"]


def test_why_one_comes_first_that_did_not_do_best_is_told():
    """A person who sees the scores would wonder; of the best one nothing of the kind is said."""
    known = narrow(seen("a", 0.900, prior=0.1), seen("b", 0.895, prior=0.9))
    assert "tried first: 0.005 behind the best may be chance" in known["b"].reason
    assert known["a"].reason.endswith("kept")
    slow = narrow(seen("slow", 0.95, 0.1), seen("a", 0.80), seen("b", 0.70, 0.0001), images=10_000, left=1000.0)
    assert slow["a"].reason.endswith("tried first")


def test_among_equals_a_dear_one_comes_later():
    """Accuracy an hour counts: what costs over twice as much as an equal waits, whatever its prior."""
    assert names(ordered([seen("a", 0.9, 0.01, prior=1.0), seen("b", 0.9, 0.001, prior=0.0)])) == ["b", "a"]
    assert names(ordered([seen("a", 0.9, 0.0015, prior=1.0), seen("b", 0.9, 0.001, prior=0.0)])) == ["a", "b"]


def test_those_not_looked_at_follow_by_their_prior():
    """Then come those that cannot be used."""
    blind = [Candidate(name="x", prior=0.2), Candidate(name="y", prior=0.8)]
    failed = Candidate(name="z", prior=0.9, failed=True, problem="out of memory")
    assert names(ordered([failed, *blind, seen("a", 0.1)])) == ["a", "y", "x", "z"]


def test_clearly_worse_ones_are_left_out_unless_they_are_cheaper():
    """Two standard errors or 0.02 behind is clearly worse; a cheaper one may still win in the time."""
    verdicts = narrow(seen("a", 0.90), seen("b", 0.89), seen("c", 0.70), seen("d", 0.70, 0.0005))
    assert kept(verdicts) == ["a", "b", "d"]
    assert "c: knn 0.690, linear 0.710, 1 ms an image: left out: 0.200 behind the best" in verdicts["c"].reason
    assert "no cheaper" in verdicts["c"].reason
    assert verdicts["a"].reason.endswith("tried first")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_two_always_stay(count):
    """However much better the best one is, the next best comes back, with the reason."""
    verdicts = narrow(seen("a", 0.99), *(seen(f"b{i}", 0.5 - i / 10) for i in range(count - 1)), most=1)
    assert kept(verdicts) == ["a", "b0"]
    assert "so that there are 2, though 0.490 behind the best" in verdicts["b0"].reason
    assert len(verdicts) == count


def test_one_that_failed_comes_back_last():
    """Only where there would be fewer than two without it."""
    failed = Candidate(name="z", failed=True, problem="could not be looked at (oom: too large)")
    assert kept(narrow(seen("a", 0.9), seen("b", 0.1), failed)) == ["a", "b"]
    alone = narrow(seen("a", 0.9), failed)
    assert kept(alone) == ["a", "z"]
    assert "oom: too large" in alone["z"].reason


def test_the_time_caps_their_number():
    """The first in order stay."""
    several = [seen(name, 0.9 - i / 1000) for i, name in enumerate("abcd")]
    verdicts = narrow(*several, most=3)
    assert kept(verdicts) == ["a", "b", "c"]
    assert verdicts["d"].reason.endswith("left out: there is room for 3 candidates")


@pytest.mark.parametrize(
    ("time", "trials", "most"),
    [(60.0, None, 2), (1799.0, 500, 2), (1800.0, None, 4), (10800.0, None, 8), (None, 10, 2), (None, 99, 4)],
)
def test_how_many_there_is_room_for(time, trials, most):
    """The time decides, without one the number of trials."""
    assert most_candidates(time, trials) == most


def test_what_is_too_slow_for_the_time_is_left_out():
    """One pass over the images that takes over a fifth of the time; what is worse than it is not judged by it."""
    slow, quick, quicker = seen("slow", 0.95, 0.1), seen("quick", 0.80, 0.001), seen("quicker", 0.79, 0.0005)
    verdicts = narrow(slow, quick, quicker, images=10_000, left=1000.0)
    assert kept(verdicts) == ["quicker", "quick"]
    assert "one look at all 10,000 images takes 1000 s of the 1000 s left" in verdicts["slow"].reason
    assert kept(narrow(slow, quick, images=10_000, left=100.0)) == ["quick", "slow"]


def test_nobody_looked_at_because_of_the_time_is_left_out_for_that():
    """It stays while there is room, and the reason says that it was not looked at."""
    blind = Candidate(name="x", problem="not looked at, for want of time")
    verdicts = narrow(seen("a", 0.9), seen("b", 0.9), blind)
    assert kept(verdicts) == ["a", "b", "x"]
    assert verdicts["x"].reason == "x: not looked at, for want of time: kept"


class Named(Backbone):
    """A backbone that is only named."""

    def __init__(self, name, imagenet=None, source="hub"):
        self.facts = Facts(name=name, params=1, blocks=1, input_size=32, imagenet=imagenet)
        self.weights = Weights(path=Path("x"), digest="x", source=source) if source else None

    def with_weights(self, weights):
        """Itself."""
        return self

    def build(self, classes, **_):
        """Never asked."""
        raise TypeError("never built here")

    def blocks(self, module):
        """None."""
        return ()

    def head(self, module):
        """None."""
        return ()


def test_the_prior_is_published_scores_and_own_history():
    """Each says where a candidate stands; published scores say nothing of a person's own weights, or random ones."""
    backbones = {
        "a": Named("a", 0.8),
        "b": Named("b", 0.7),
        "own": Named("own", 0.9, source="file"),
        "random": Named("random", 0.9, source=""),
        "unknown": Named("unknown"),
    }
    assert priors(backbones, {}) == {"a": 1.0, "b": 0.0, "own": 0.5, "random": 0.5, "unknown": 0.5}
    known = priors(backbones, {"a": 0.5, "own": 0.25})
    assert known == {"a": 0.75, "b": 0.0, "own": 0.25, "random": 0.5, "unknown": 0.5}


def test_a_plan_is_narrowed_in_every_place(netted):
    """Candidates, space, first recipes and study.toml name the same backbones, the best first."""
    first = [{"x": 0.9}, {"n": 7}, {"n": 9, "backbone": "net/b"}]
    plan = netted(first=first, trials=3)
    found = with_candidates(plan, ["net/c", "net/b"])
    assert list(found.backbones) == list(found.config.backbones) == ["net/c", "net/b"]
    assert found.space["backbone"].values == ("net/c", "net/b")
    assert found.config.made["weights"] == {"net/c": "digest-c", "net/b": "digest-b"}
    assert [dict(recipe) for recipe in found.portfolio] == [
        {"backbone": "net/c", "x": 0.9},
        {"backbone": "net/b", "x": 0.9},
        {"backbone": "net/c", "n": 7},
        {"backbone": "net/b", "n": 9},
    ]
    found.write()
    again = netted(first=first, trials=3)
    assert (again.portfolio, list(again.backbones)) == (found.portfolio, ["net/c", "net/b"])
