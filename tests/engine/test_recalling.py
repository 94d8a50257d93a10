"""Past studies as the engine leaves them, read for a new one."""

from __future__ import annotations

import pytest

from autotune import Epoch, Screening
from autotune.engine import run_search
from autotune.errors import StudyError
from autotune.past import recall


def look(recipe, data, run):
    """The later the letter, the better."""
    score = 0.5 + 0.1 * "abc".index(recipe.backbone[-1])
    return Screening(images=400, seconds=0.001, scores={"knn": score - 0.1, "linear": score + 0.1})


def fit(recipe, data, run):
    """The head alone comes to what its backbone allows, more blocks to much more."""
    score = 0.1 * (1 + "abc".index(recipe.backbone[-1])) + 0.5 * (recipe.unfreeze > 0)
    yield Epoch(at=1, images=1, metrics={"accuracy": score, "cost": 1 - score})


@pytest.fixture
def finished(netted, tmp_path):
    """Makes a finished study in ``runs/``."""

    def make(name, **config):
        return run_search(netted(fit, runs=tmp_path / "runs", name=name, epochs=1, **{"trials": 4, **config}))

    return make


def test_a_study_teaches_how_candidates_ranked(finished, tmp_path):
    """Every candidate that was looked at has its mean score, those that were left out too."""
    study = finished("one", look=look)
    (found,) = recall(str(tmp_path / "runs"), besides=tmp_path / "none").studies
    assert found.name == str(study.path)
    assert found.trainer == "fake"
    assert found.scores == pytest.approx({"net/a": 0.5, "net/b": 0.6, "net/c": 0.7})
    assert (found.description.classes, found.description.resolution) == (3, 16)
    assert found.model is None


def test_without_screenings_the_heads_rank(finished, tmp_path):
    """The best of each backbone's head-only trials, whatever deeper ones came to."""
    first = [{"unfreeze_share": 0.0}, {"unfreeze_share": 1.0}]
    finished("one", screen=False, first=first)
    (found,) = recall(str(tmp_path / "runs" / "one"), besides=tmp_path / "none").studies
    assert found.scores == pytest.approx({"net/a": 0.1, "net/b": 0.2, "net/c": 0.3})
    assert found.recipes[0]["unfreeze"] == 3
    finished("two", screen=False, first=first, metric="cost:minimize")
    (other,) = recall(str(tmp_path / "runs" / "two"), besides=tmp_path / "none").studies
    assert other.scores == pytest.approx({"net/a": -0.9, "net/b": -0.8, "net/c": -0.7})


def test_good_recipes_come_best_first_and_once(finished, tmp_path):
    """Whole recipes of trials that ran to their end."""
    study = finished("one", look=look, trials=6)
    (found,) = recall(str(study.path), besides=tmp_path / "none").studies
    ranked = sorted(study.trained, key=lambda t: (-t.value, t.number))
    assert found.recipes[0] == ranked[0].recipe
    assert len(found.recipes) == len({tuple(recipe.items()) for recipe in found.recipes}) <= 6


def test_recipes_of_equal_scores_share_their_places(finished, tmp_path):
    """Each has the mean place of its equals, among all that ran to their ends."""
    study = finished("one", screen=False, trials=10)
    (found,) = recall(str(study.path), besides=tmp_path / "none").studies
    values = [next(t.value for t in study.trained if t.recipe == recipe) for recipe in found.recipes]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) < len(values)
    for place, value in zip(found.places, values, strict=True):
        own = [i for i, other in enumerate(values) if other == value]
        assert place == sum(own) / len(own)


def test_a_study_does_not_learn_from_itself(finished, tmp_path):
    """Its own folder may lie among the others; unfinished ones are left out, with the reason."""
    one = finished("one", look=look)
    two = finished("two", look=look)
    found = recall(str(tmp_path / "runs"), besides=two.path)
    assert [study.name for study in found.studies] == [str(one.path)]
    (two.path / "study.toml").write_text((two.path / "study.toml").read_text().replace("trials = 4", "trials = 40"))
    found = recall(str(tmp_path / "runs"), besides=tmp_path / "none")
    assert [study.name for study in found.studies] == [str(one.path)]
    assert found.reasons[1].startswith(f"past study {two.path}: left out: it is not finished")
    with pytest.raises(StudyError, match="holds no finished study") as caught:
        recall(str(two.path), besides=tmp_path / "none")
    assert "it is not finished; autotune search" in str(caught.value)


def test_places_without_studies_are_refused(tmp_path):
    """No such folder, an empty one; each with what to do."""
    with pytest.raises(StudyError, match=r"learn_from = .*nowhere: there is no such folder"):
        recall(str(tmp_path / "nowhere"), besides=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match="empty: holds no finished study") as caught:
        recall(str(tmp_path / "empty"), besides=tmp_path)
    assert "autotune search DATA" in str(caught.value)


def damaged_journal(path):
    """A journal whose second line is torn."""
    lines = (path / "journal.log").read_text().splitlines()
    (path / "journal.log").write_text("\n".join([lines[0], lines[1][:9], *lines[2:]]) + "\n")


def unreadable_journal(path):
    """A journal that cannot be opened."""
    (path / "journal.log").unlink()
    (path / "journal.log").mkdir()


def newer(path):
    """A study of a later format."""
    file = path / "study.toml"
    file.write_text(file.read_text().replace("format = 1", "format = 2\nwarp = 9"))


def misspelt(path):
    """A study file with a mistake."""
    file = path / "study.toml"
    file.write_text("sed = 1\n" + file.read_text())


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (damaged_journal, "the journal is damaged"),
        (unreadable_journal, r"journal\.log: cannot be opened"),
        (newer, "written by a newer autotune"),
        (misspelt, "did you mean 'seed'"),
    ],
)
def test_a_study_that_cannot_be_read_is_an_error(finished, tmp_path, spoil, told):
    """It is not passed over in silence: the message names it, and how to go on without it."""
    finished("one", look=look)
    two = finished("two", look=look)
    spoil(two.path)
    with pytest.raises(StudyError, match=told) as caught:
        recall(str(tmp_path / "runs"), besides=tmp_path / "none")
    assert str(two.path) in caught.value.message
    assert caught.value.message.startswith(f"learn_from = {tmp_path / 'runs'}: ")
    assert "name the study to learn from" in caught.value.hint


def test_a_study_that_does_not_describe_its_images_is_left_out(finished, tmp_path):
    """An older autotune wrote no description; what cannot be compared teaches nothing."""
    study = finished("one", look=look)
    file = study.path / "study.toml"
    head, _, rest = file.read_text().partition("[made.description]")
    file.write_text(head + rest[rest.index("[made.") :])
    with pytest.raises(StudyError, match="does not say what its images are like"):
        recall(str(study.path), besides=tmp_path)
