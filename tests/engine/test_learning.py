"""What past studies teach a search."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune import Screening
from autotune.engine import run_search
from autotune.engine.learning import learn, translated
from autotune.engine.narrowing import with_candidates
from autotune.relations import Description, Past, PastStudy, Relation, with_learned

LIKE = Description(images=100, classes=3, resolution=16, grey=False)
FIRST = [{"x": 0.5, "unfreeze_share": 0.0}, {"x": 0.6, "n": 9, "unfreeze_share": 1.0}]
"""Two recipes that the trainer proposes, the cheapest first."""


def past(name, *recipes, scores=None, trainer="fake", model=None):
    """A past study with some recipes, the best first."""
    whole = tuple({"x": 0.5, "n": 3, "unfreeze_share": 0.25, "backbone": "net/a", **recipe} for recipe in recipes)
    return PastStudy(name=name, trainer=trainer, description=LIKE, scores=scores or {}, recipes=whole, model=model)


def related(study, weight):
    """A past study that counts so much."""
    return Relation(past=study, similarity=weight, shared=0, agreement=None)


def look(recipe, data, run):
    """All candidates are alike but for their letters: the later the better."""
    score = 0.5 + 0.1 * "abc".index(recipe.backbone[-1])
    return Screening(images=400, seconds=0.001, scores={"knn": score})


def recipes(learned):
    """What is told apart here of recipes: the backbone, x and the share."""
    return [(r["backbone"], r.get("x"), r.get("unfreeze_share")) for r in learned.recipes]


def test_the_best_recipes_of_related_studies_come_in_order(netted):
    """By the study's weight and the recipe's place in it; a near copy of one is left out."""
    plan = netted(trials=2, first=FIRST)
    near = past("near", {"x": 0.9}, {"x": 0.91}, {"x": 0.1})
    far = past("far", {"x": 0.3})
    found = learn(plan, [related(far, 0.4), related(near, 0.9)])
    assert recipes(found)[:3] == [("net/a", 0.9, 0.25), ("net/a", 0.3, 0.25), ("net/a", 0.1, 0.25)]
    assert "recipes of past studies come first: 2 of near, 1 of far" in found.reasons


def test_four_recipes_at_most_are_taken_over(netted):
    """And one more that starts from where the best of each lie."""
    several = past("p", *({"x": i / 8, "unfreeze_share": i / 8} for i in range(8, -1, -1)))
    found = learn(netted(trials=2, first=FIRST), [related(several, 1.0)])
    assert len(found.recipes) == 5
    assert found.recipes[-1] == {"backbone": "net/a", "unfreeze_share": 1.0}


def test_a_known_recipe_moves_forward(netted):
    """What the trainer proposes anyway, and was best in a past study, comes second."""
    first = [*FIRST, {"x": 0.9, "n": 3, "unfreeze_share": 0.25}]
    plan = netted(trials=2, first=first)
    found = learn(plan, [related(past("p", {"x": 0.9}, {"x": 0.1}), 1.0)])
    assert recipes(found)[:2] == [("net/a", 0.9, 0.25), ("net/a", 0.1, 0.25)]
    own = plan.portfolio.index(found.recipes[0])
    assert own > 1
    assert with_learned(plan.portfolio, found.recipes)[:2] == (plan.portfolio[0], plan.portfolio[own])
    assert with_learned(plan.portfolio, found.recipes).count(plan.portfolio[own]) == 1


def test_equals_say_little(netted):
    """A study in which everything came to the same score comes after one that tells recipes apart."""
    easy = replace(past("easy", {"x": 0.9}, {"x": 0.7, "unfreeze_share": 1.0}), places=(8.0, 8.0))
    hard = past("hard", {"x": 0.1, "unfreeze_share": 0.8})
    found = learn(netted(trials=2, first=FIRST), [related(easy, 0.9), related(hard, 0.3)])
    assert recipes(found)[0] == ("net/a", 0.1, 0.8)
    told = 0.9 / 9
    assert found.recipes[-1]["unfreeze_share"] == pytest.approx(
        (told * (0.25 + 1.0) / 2 + 0.3 * 0.8) / (told + 0.3), rel=1e-6
    )


def test_heads_alone_are_not_learned(netted):
    """The first recipe fits many of them at once; where it does not, they are recipes like others."""
    heads = past("p", {"x": 0.9, "unfreeze_share": 0.0}, {"x": 0.1})
    found = learn(netted(trials=2, first=FIRST), [related(heads, 1.0)])
    assert recipes(found)[0] == ("net/a", 0.1, 0.25)
    found = learn(netted(trials=2, first=FIRST[1:]), [related(heads, 1.0)])
    assert recipes(found)[0] == ("net/a", 0.9, 0.0)


def test_a_study_without_weight_teaches_nothing_and_is_named(netted):
    """Its recipes are not tried; its weight stands in the reasons."""
    wrong = Relation(past=past("wrong", {"x": 0.9}), similarity=1.0, shared=3, agreement=-1.0)
    found = learn(netted(trials=2, first=FIRST), [wrong])
    assert found.recipes == ()
    assert found.reasons == (wrong.reason,)
    assert found.reasons[0].startswith("past study wrong: weight 0.00")


def test_another_trainers_recipes_are_not_taken(netted):
    """They mean something else."""
    found = learn(netted(trials=2, first=FIRST), [related(past("p", {"x": 0.9}, trainer="toy"), 1.0)])
    assert found.recipes == ()


def test_how_much_to_unfreeze_starts_from_the_nearest(netted):
    """The mean of what the best recipes have, weighed by how the studies relate."""
    plan = netted(trials=2, first=FIRST)
    studies = [
        related(past("p", {"unfreeze_share": 1.0}), 0.75),
        related(past("q", {"unfreeze_share": 0.4}), 0.25),
    ]
    found = learn(plan, studies)
    assert found.recipes[-1]["unfreeze_share"] == pytest.approx(0.85)
    assert any(reason.startswith("unfreeze_share 0.85") for reason in found.reasons)


def test_recipes_move_into_todays_space(netted):
    """Numbers go to the nearest end, what is fixed is left out, a backbone that is gone gives way to the first one."""
    plan = netted(trials=2, space={"x": {"low": 0.0, "high": 0.4}}, fixed={"n": 5})
    plan = with_candidates(plan, ["net/c", "net/b"])
    recipe = {"x": 0.9, "n": 9, "backbone": "net/a", "unfreeze_share": 0.5, "long": "gone"}
    assert translated(recipe, plan) == {"backbone": "net/c", "x": 0.4, "unfreeze_share": 0.5}
    assert translated({**recipe, "backbone": "net/b"}, plan)["backbone"] == "net/b"


def test_a_search_learns_before_its_first_trial(netted):
    """After the first recipe come those of related studies, and study.toml says what was learned."""
    scores = {"net/a": 0.1, "net/b": 0.2, "net/c": 0.3}
    good = past("good", {"x": 0.9, "backbone": "net/b"}, scores=scores)
    bad = past("bad", {"x": 0.2}, scores={name: -score for name, score in scores.items()})
    calls = []

    def recall(place, besides):
        calls.append((place, besides))
        return Past(studies=(good, bad), reasons=("learns from good, bad",))

    more = {"look": look, "first": FIRST, "learn_from": "runs", "recall": recall}
    study = run_search(netted(trials=3, **more))
    assert calls == [("runs", study.path)]
    tried = [(t.recipe["backbone"], t.recipe["x"], t.recipe["unfreeze_share"]) for t in study.trained]
    assert tried[0] == ("net/c", 0.5, 0.0)
    assert tried[1][1:] == (0.9, 0.25)
    made = study.config["made"]
    assert made["learned"]["weights"]["good"] > 0.5
    assert made["learned"]["weights"]["bad"] == 0
    told = "\n".join(made["reasons"])
    assert "learns from good, bad" in told
    assert "past study good: weight" in told
    assert "past study bad: weight 0.00: 3 backbones agree in rank by -1.00" in told
    again = run_search(netted(trials=5, **more))
    assert calls == [("runs", study.path)]
    assert len(again.trained) == 5
    assert again.config["made"]["learned"] == made["learned"]


def test_without_screening_the_images_decide(netted):
    """One candidate, nothing to look at: past studies are weighed by their images alone."""
    teach = past("p", {"x": 0.9}, {"x": 0.2})
    more = {"learn_from": "runs", "recall": lambda place, besides: Past(studies=(teach,))}
    study = run_search(netted(trials=3, first=FIRST, backbones=["net/a"], **more))
    assert study.screened == ()
    assert [t.recipe["x"] for t in study.trained] == [0.5, 0.9, 0.2]


def test_own_history_breaks_near_ties(netted):
    """Of candidates that are as good as equal, the one that did best in related studies is tried first."""
    scores = {"net/a": 0.1, "net/b": 0.3, "net/c": 0.2}
    more = {"learn_from": "runs", "recall": lambda place, besides: Past(studies=(past("p", {}, scores=scores),))}

    def ranked(order):
        def look(recipe, data, run):
            score = 0.8 + 0.001 * order.index(recipe.backbone[-1])
            return Screening(images=400, seconds=0.001, scores={"knn": score})

        return look

    study = run_search(netted(look=ranked("abc"), trials=1, **more))
    assert study.config["backbones"][0] == "net/b"
    study = run_search(netted(look=ranked("abc"), trials=1, name="alone"))
    assert study.config["backbones"][0] == "net/c"
    # A past study that ranks the other way counts for nothing.
    study = run_search(netted(look=ranked("bca"), trials=1, name="other", **more))
    assert study.config["backbones"][0] == "net/a"
