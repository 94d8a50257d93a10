"""How tasks relate."""

from __future__ import annotations

import random

import pytest

from autotune.relations import Description, PastStudy, Relation, history, ranks, relate, tau, with_learned

TODAY = Description(images=1000, classes=10, resolution=32, grey=False)
SCORES = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}


def past(scores=SCORES, **changes):
    """A past study; without changes, of images like today's."""
    facts = {"images": 1000, "classes": 10, "resolution": 32, "grey": False, **changes}
    return PastStudy(name="past", trainer="net", description=Description(**facts), scores=scores)


def test_agreement_is_kendalls():
    """It equals scipy's tau-b, ties included; where all are equal it is 0."""
    from scipy.stats import kendalltau

    drawn = random.Random(0)
    for count in (3, 4, 8):
        one = [drawn.choice([0.1, 0.2, 0.3, 0.4]) for _ in range(count)]
        two = [drawn.choice([0.1, 0.2, 0.3]) for _ in range(count)]
        expected = float(kendalltau(one, two).statistic) if len({*one}) > 1 < len({*two}) else 0.0
        assert tau(one, two) == pytest.approx(expected)
    assert tau([1, 2, 3], [1, 2, 3]) == 1
    assert tau([1, 2, 3], [3, 2, 1]) == -1
    assert tau([1, 1, 1], [1, 2, 3]) == 0


def test_equal_tasks_count_whole():
    """The same images, ranked alike: weight 1."""
    assert relate(TODAY, SCORES, past()).weight == 1


def test_a_weight_is_never_negative():
    """A study that ranks the other way counts for nothing, whatever its images are like."""
    upside_down = {name: -score for name, score in SCORES.items()}
    relation = relate(TODAY, SCORES, past(upside_down))
    assert (relation.agreement, relation.weight) == (-1, 0)
    assert "weight 0.00" in relation.reason
    drawn = random.Random(1)
    for _ in range(50):
        scores = {name: drawn.random() for name in SCORES}
        one = relate(TODAY, SCORES, past(scores, images=drawn.randint(1, 10**6), grey=drawn.random() < 0.5))
        assert 0 <= one.weight <= 1


@pytest.mark.parametrize(
    "change", [{"images": 10}, {"images": 100_000}, {"classes": 1000}, {"resolution": 224}, {"grey": True}]
)
def test_other_images_count_less(change):
    """Fewer or more images, other classes, another resolution, other colours; both ways alike."""
    other = past(**change)
    assert 0 < relate(TODAY, SCORES, other).weight < 1
    assert TODAY.similarity(other.description) == other.description.similarity(TODAY)


def test_with_few_backbones_in_common_the_images_alone_count():
    """Two backbones rank one way or the other by chance."""
    reversed_ = past({"a": 0.1, "b": 0.2, "x": 0.3})
    relation = relate(TODAY, SCORES, reversed_)
    assert (relation.shared, relation.agreement, relation.weight) == (2, None, 1.0)
    assert "fewer than 3 backbones" in relation.reason


def test_only_backbones_in_common_are_compared():
    """What one of the tasks alone knows says nothing of how they relate."""
    more = past({**SCORES, "x": 9.0, "y": -9.0})
    assert relate(TODAY, {**SCORES, "z": 5.0}, more).agreement == 1


def test_ranks_run_from_the_worst_to_the_best():
    """Ties share their place; one alone is in the middle."""
    assert ranks({"a": 3, "b": 1, "c": 2}) == {"a": 1, "b": 0, "c": 0.5}
    assert ranks({"a": 1, "b": 1}) == {"a": 0.5, "b": 0.5}
    assert ranks({"a": 1}) == {"a": 0.5}


def test_history_is_weighed():
    """Studies count by how they relate; those that do not relate are left out."""

    def relation(scores, similarity, agreement=None):
        return Relation(past=past(scores), similarity=similarity, shared=0, agreement=agreement)

    found = history([relation({"a": 1, "b": 0}, 0.75), relation({"a": 0, "b": 1, "c": 2}, 0.25)])
    assert found == pytest.approx({"a": 0.75, "b": 0.125, "c": 1.0})
    assert history([relation({"a": 1, "b": 0}, 1.0, agreement=-0.5)]) == {}
    assert history([relation({"a": 1}, 1.0)]) == {}


def test_a_description_survives_a_file(tiny):
    """What study.toml says of the images reads back; anything else is no description."""
    found = Description.of(tiny)
    assert (found.images, found.classes, found.resolution, found.grey) == (48, 3, 16, False)
    assert Description.read(found.facts()) == found
    for wrong in (None, "x", {}, {**found.facts(), "images": 0}, {**found.facts(), "grey": "no"}):
        assert Description.read(wrong) is None


def test_what_was_learned_follows_the_first_recipe():
    """Each recipe is tried once; without anything learned nothing changes."""
    portfolio = ({"x": 1}, {"x": 2}, {"x": 3})
    assert with_learned(portfolio, [{"x": 9}, {"x": 2}]) == ({"x": 1}, {"x": 9}, {"x": 2}, {"x": 3})
    assert with_learned(portfolio, []) == portfolio
