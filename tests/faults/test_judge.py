"""The judge finds nothing in a study that is well, and whatever is wrong in one that is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from judge import Calm, counted, ended, judge, left, trained_again
from traces import Lines

import autotune
from autotune.testing import tiny_folder

WORDS = ("trainer=toy", "sampler=random", "pruner=none", "epochs=3")
TRIALS, EPOCHS = 3, 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A study that nobody disturbed."""
    folder = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOTUNE_CACHE_DIR", str(folder / "cache"))
        tiny_folder(folder / "images")
        autotune.search(folder / "images", *WORDS, name="study", trials=TRIALS, runs=folder)
        yield folder / "study"


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, for bad deeds."""
    return Path(shutil.copytree(whole, tmp_path / "study"))


def said(study: Path, calm: Calm | None = None, **options: bool) -> str:
    """What the judge says of a study."""
    return "; ".join(judge(study, trials=TRIALS, epochs=EPOCHS, calm=calm, **options))


def tries(*attempts: Lines) -> str:
    """What the judge says of the attempts at a trial."""
    return "; ".join(trained_again(attempts))


def lines(number: int, start: float | None, epochs: str, *, end: str | None = None, damaged: int = 0) -> Lines:
    """An attempt with the epochs given, of which those with a dash could not be saved."""
    found = tuple((float(word.strip("-")), "-" not in word) for word in epochs.split())
    return Lines(number=number, start=start, epochs=found, end=end, damaged=damaged)


def test_a_whole_study_is_well(whole):
    """Nothing is wrong with it, and it is equal to itself."""
    assert said(whole) == ""
    assert said(whole, Calm.of(whole)) == ""


def test_too_few_and_too_many(whole):
    """The totals are exact."""
    assert "3 trials were counted, 4 were asked for" in judge(whole, trials=4, epochs=EPOCHS)[0]
    assert "3 trials were counted, 2 were asked for" in judge(whole, trials=2, epochs=EPOCHS)[0]


def test_a_trial_that_counts_twice(whole):
    """By its number, or by its seed."""
    study = autotune.open(whole)
    first, *others = study.trials
    assert "the numbers [0] stand there more than once" in [*counted(replace(study, trials=(first, *study.trials)), 4)]
    again = replace(first, number=3)
    found = [*counted(replace(study, trials=(first, *others, again)), 4)]
    assert f"the seeds [{first.seed}] stand there more than once" in found


def test_a_trial_that_has_not_ended(whole):
    """It runs, has holes, ends too early, or failed without saying why."""
    trial = autotune.open(whole).trials[0]
    assert [*ended(trial, EPOCHS)] == []
    assert [*ended(replace(trial, state="running"), EPOCHS)] == ["it has not ended"]
    assert "the epochs [1.0, 3.0]" in next(ended(replace(trial, curve=(trial.curve[0], trial.curve[2])), EPOCHS))
    assert "complete after 3 of 4" in next(ended(trial, 4))
    failed = replace(trial, state="failed", curve=())
    assert "without a kind" in next(ended(failed, EPOCHS))
    assert [*ended(replace(failed, failure=autotune.Failure(kind="lost", reason="gone")), EPOCHS)] == []


def test_epochs_that_were_trained_in_vain():
    """One recorded epoch a death may be; a second one, or one that was saved and passed over, may not."""
    assert tries(lines(1, 0, "1 2 3", end="complete")) == ""
    assert tries(lines(1, 0, "1 2"), lines(2, 2, "3", end="complete")) == ""
    assert tries(lines(1, 0, "1 2"), lines(2, 1, "2 3")) == ""
    assert "attempt 2 went 2 saved epochs back" in tries(lines(1, 0, "1 2"), lines(2, 0, "1 2 3"))
    assert "attempt 3 went 2" in tries(lines(1, 0, "1 2"), lines(2, 1, "2 3"), lines(3, 1, "2 3"))
    assert tries(lines(1, 0, "1"), lines(2, None, ""), lines(3, 1, "2 3")) == ""


def test_what_was_damaged_or_could_not_be_saved_is_excused():
    """The monkey did it."""
    assert tries(lines(1, 0, "1 2", damaged=1), lines(2, 0, "1 2 3")) == ""
    assert "went 3" in tries(lines(1, 0, "1 2 3", damaged=1), lines(2, 0, "1 2 3"))
    assert tries(lines(1, 0, "1 2- 3- 4-"), lines(2, 1, "2 3 4")) == ""
    assert "went 2" in tries(lines(1, 0, "1 2- 3 4"), lines(2, 1, "2 3 4"))


def test_exit_codes():
    """Done, and started again; killed only by the monkey, and ended for a disk only that took nothing."""
    calm = {"felled": False, "spoiled": False}
    assert [*left(0, **calm), *left(75, **calm)] == []
    assert [*left(-9, felled=True, spoiled=False), *left(5, felled=False, spoiled=True)] == []
    for code in (-9, 5):
        assert [*left(code, **calm)] == [f"the command ended with the exit code {code}"]
    for code in (-11, -15, 1, 2, 9, 130, 137):
        assert [*left(code, felled=True, spoiled=True)] == [f"the command ended with the exit code {code}"]


def test_two_attempts_that_end_a_trial():
    """Two copies never both count."""
    both = lines(1, 0, "1 2 3", end="complete"), lines(2, 2, "3", end="complete")
    assert "[1, 2] all say that they ended it" in tries(*both)
    assert tries(lines(1, 0, "1 2", end="paused"), lines(2, 2, "3", end="complete")) == ""
    assert tries(lines(1, 0, "1 2 3-", end="complete"), lines(2, 2, "3", end="complete")) == ""
    assert "[2, 3]" in tries(lines(1, 0, "1 2-"), lines(2, 1, "2 3", end="complete"), lines(3, 3, "", end="complete"))


def test_attempts_are_read_from_their_files(study):
    """An attempt from the beginning, after one that had trained all, is seen."""
    first = study / "trials/00001/attempt-1"
    written = (first / "epochs.jsonl").read_text().splitlines(keepends=True)
    (first / "epochs.jsonl").write_text("".join(written[:-1]))
    shutil.copytree(first, first.with_name("attempt-2"))
    assert "trial 1: attempt 2 went" in said(study)


def test_a_trial_that_the_study_does_not_know(study):
    """Somebody trained it, and it counts nowhere."""
    shutil.copytree(study / "trials/00002", study / "trials/00009")
    assert "trials [9] have recipes, but are not in the study" in said(study)


def test_another_curve(study, whole):
    """An epoch whose scores are not those of the undisturbed run."""
    path = study / "trials/00000/attempt-1/epochs.jsonl"
    written = [json.loads(line) for line in path.read_text().splitlines()]
    written[2]["metrics"]["accuracy"] += 1e-9
    path.write_text("".join(json.dumps(line) + "\n" for line in written))
    assert "has another curve" in said(study, Calm.of(whole))


def test_another_report(study, whole):
    """A line of it, or a row of the table; times may differ, and where the study lies."""
    calm = Calm.of(whole)
    path = study / "report.md"
    text = path.read_text().replace(str(whole), str(study))
    path.write_text(text.replace(" spent", "9 spent"))
    assert said(study, calm) == ""
    path.write_text(text.replace("## Ranking", "## Order"))
    assert "report.md differs, first in '## Order', undisturbed '## Ranking'" in said(study, calm)
    assert said(study, calm, best_may_differ=True) == ""
    path.write_text(text)
    table = study / "trials.csv"
    table.write_text(table.read_text().replace("complete", "pruned", 1))
    assert "trials.csv differs" in said(study, calm)


def test_a_best_model_that_is_none(study, whole):
    """It was altered, it is gone, or it is another one's."""
    calm = Calm.of(whole)
    path = study / "best/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "the best model cannot be loaded" in said(study)
    shutil.rmtree(study / "best")
    assert "there are scores, but no best model" in said(study)
    other = replace(calm, best=(calm.best[0], calm.best[1], "0" * 64))
    assert "the best model is" in said(whole, other)
