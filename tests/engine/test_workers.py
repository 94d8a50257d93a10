"""Several workers, as threads of one process, on one study: nothing is run twice, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from autotune import Epoch
from autotune.engine import Clock, at_work, attempt, claim, run_search, run_worker, set_up
from autotune.engine.search import read
from autotune.errors import RepeatedFailure, StudyError


def ready(made):
    """Sets a study up, as the command that starts workers does."""
    made.path.mkdir(parents=True, exist_ok=True)
    with claim(made.path), at_work(made, Clock(made.path, made.config.time)) as call:
        set_up(call)


def at_once(make, workers, seconds=60.0):
    """Runs workers as threads; returns why each left, or what it raised."""
    left: dict[int, object] = {}

    def run(number):
        made = make()
        try:
            with at_work(made, Clock(made.path, made.config.time)) as call:
                left[number] = run_worker(call)
        except StudyError as error:
            left[number] = error
        except RepeatedFailure as error:
            left[number] = error

    threads = [threading.Thread(target=run, args=[number], daemon=True) for number in range(workers)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
        assert not thread.is_alive()
    return [left[number] for number in range(workers)]


def test_totals_are_exact(plan, fake_fit, tmp_path):
    """Six workers end with exactly the trials that were asked for; each was run once, and recipes do not repeat."""
    run = Counter()

    def fit(recipe, data, given):
        run[given.trial] += 1
        for epoch in fake_fit(recipe, data, given):
            time.sleep(0.01)
            yield epoch

    make = lambda: plan(fit, trials=17, epochs=2, sampler="random", pruner="none")  # noqa: E731
    ready(make())
    assert set(at_once(make, 6)) == {"all 17 trials are done"}
    study = read(tmp_path / "study", make().plugins)
    assert study.state == "done"
    assert [t.number for t in study.trials] == list(range(17))
    assert {t.state for t in study.trials} == {"complete"}
    assert set(run.values()) == {1}
    assert len({t.recipe["x"] for t in study.trials}) == 17


def test_workers_end_with_what_one_finds(plan, tmp_path):
    """Where trials do not learn from each other, several workers come to the recipes, seeds and scores of one."""
    asked = {"trials": 9, "epochs": 3, "sampler": "random", "pruner": "none"}
    make = lambda: plan(runs=tmp_path / "many", **asked)  # noqa: E731
    ready(make())
    at_once(make, 4)
    many, one = read(tmp_path / "many" / "study", make().plugins), run_search(plan(runs=tmp_path / "one", **asked))
    told = [[(t.recipe, t.seed, [p.metrics for p in t.curve]) for t in study.trials] for study in (many, one)]
    assert told[0] == told[1]


def test_a_larger_total_extends_a_finished_study(plan, tmp_path):
    """Workers of a study that is done leave at once; with a larger total they go on to exactly that."""
    make = lambda trials: lambda: plan(trials=trials, epochs=1)  # noqa: E731
    ready(make(4)())
    at_once(make(4), 2)
    assert at_once(make(4), 2) == ["the study is done"] * 2
    ready(make(9)())
    at_once(make(9), 3)
    assert len(read(tmp_path / "study", make(9)().plugins).trials) == 9


def test_a_total_that_is_raised_meanwhile_counts(plan, fake_fit, tmp_path):
    """A worker that is at work sees the larger total in study.toml."""
    grown = []

    def fit(recipe, data, run):
        if not grown:
            grown.append(True)
            plan(fit, trials=6, epochs=1).write()
        yield from fake_fit(recipe, data, run)

    make = lambda: plan(fit, trials=3, epochs=1)  # noqa: E731
    made = make()
    ready(made)
    with at_work(made, Clock(made.path)) as call:
        assert run_worker(call) == "all 6 trials are done"
    assert len(read(tmp_path / "study", made.plugins).trials) == 6


def test_batches_are_one_to_workers(plan, tmp_path):
    """The trials of a batch are run together by one worker, and count as one towards the total."""
    make = lambda: plan(batch=4, same=("n",), trials=5, epochs=2, pruner="none")  # noqa: E731
    ready(make())
    at_once(make, 3)
    study = read(tmp_path / "study", make().plugins)
    assert Counter(t.batch for t in study.trials) == {t.number: 4 for t in study.trials if t.batch == t.number}
    assert sum(not t.follows for t in study.trials) == 5
    assert {t.attempts for t in study.trials} == {1}
    claims = [attempt.read_claim(study.path / "trials" / f"{t.number:05d}" / "attempt-1") for t in study.trials]
    assert {(t.batch, c.lease) for t, c in zip(study.trials, claims, strict=True)} == {
        (t.number, f"trials/{t.number:05d}/attempt-1") for t in study.trials if not t.follows
    }


def test_active_time_is_not_added_up(plan, fake_fit, tmp_path):
    """Four workers that are at work for a second have spent a second, not four."""

    def fit(recipe, data, run):
        time.sleep(0.25)
        yield from fake_fit(recipe, data, run)

    make = lambda: plan(fit, trials=16, epochs=1)  # noqa: E731
    ready(make())
    before, begin = read(tmp_path / "study", make().plugins).spent, time.monotonic()
    at_once(make, 4)
    spent, wall = read(tmp_path / "study", make().plugins).spent - before, time.monotonic() - begin
    assert wall > 1.0
    assert 0.5 * wall < spent < 1.2 * wall


def test_a_worker_that_stood_still_drops_what_it_made(plan, fake_fit, tmp_path):
    """Who finds a later attempt at its trial tells nothing, says so, and goes on with another trial."""
    taken: list[Path] = []

    def fit(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            if run.trial == 1 and epoch.at == 2 and not taken:
                taken.append(attempt.claim_attempt(run.folder.parent))
                attempt.begin(taken[0], start=1.0)
            yield epoch

    made = plan(fit, trials=3, epochs=4)
    with pytest.warns(UserWarning, match="trial 1: taken over by another worker while this one stood still"):
        study = run_search(made)
    assert [t.state for t in study.trials] == ["complete"] * 3
    assert study.trials[1].attempts == 3
    assert [p.at for p in study.trials[1].curve] == [1, 2, 3, 4]
    first = attempt.read_attempts(taken[0].parent, made.path)[0]
    assert ([p.at for p in first.points], first.end) == ([1], None)
    assert not (first.folder / "checkpoint-2.json").exists()


def test_a_trial_that_was_told_by_another_is_not_told_again(plan, fake_fit, tmp_path):
    """Where a trial was given up as lost while its worker stood still, it stays so."""

    def fit(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            if run.trial == 0 and epoch.at == 2:
                journal = open_journal(made.path, made.objective)
                journal.search.tell(0, state=TrialState.FAIL)
                write_failure(made.path / "trials" / "00000", Failure(kind="lost", reason="gone"))
            yield epoch

    from optuna.trial import TrialState

    from autotune.engine.failures import write_failure
    from autotune.engine.storage import open_journal
    from autotune.study import Failure

    made = plan(fit, trials=2, epochs=3)
    with pytest.warns(UserWarning, match="trial 0: taken over"):
        study = run_search(made)
    assert [t.state for t in study.trials] == ["failed", "complete"]
    assert study.trials[0].failure.kind == "lost"


def test_equal_failures_of_several_workers_stop_them_all(plan, tmp_path):
    """Five equal failures in a row are five whoever met them, and not five of each worker."""

    def fit(recipe, data, run):
        time.sleep(0.05)
        raise ValueError("no")
        yield Epoch(at=1, images=1)

    make = lambda: plan(fit, trials=60, epochs=1)  # noqa: E731
    ready(make())
    left = at_once(make, 3)
    assert all(isinstance(error, RepeatedFailure) for error in left)
    assert 5 <= len(read(tmp_path / "study", make().plugins).trials) <= 10


def test_the_time_ends_for_all(plan, fake_fit, tmp_path):
    """Workers stop at the same deadline, and what each was at is cut there and scored; the study is done."""

    def fit(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            time.sleep(0.2)
            yield epoch

    make = lambda: plan(fit, time=8.0, epochs=3, pruner="none")  # noqa: E731
    began = time.monotonic()
    ready(make())
    left = at_once(make, 3)
    assert time.monotonic() - began < 20
    assert all("time" in why or "too short" in why for why in left), left
    study = read(tmp_path / "study", make().plugins)
    assert study.state == "done"
    assert len(study.trials) > 3
    assert not [t for t in study.trials if t.state == "running" and t.reason is None]
    assert at_once(make, 1) == ["the study is done"]
