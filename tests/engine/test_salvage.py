"""A damaged journal is rebuilt from what is whole of it, and from the trials' folders."""

from __future__ import annotations

import json
import re
import shutil
import threading

import pytest

from autotune.engine import run_search
from autotune.engine.journal import LOCK
from autotune.engine.journal_lock import JournalLock
from autotune.engine.salvage import salvage
from autotune.engine.search import read
from autotune.engine.storage import FILE, open_storage
from autotune.errors import StudyError


@pytest.fixture
def study(plan):
    """A finished study: complete and pruned trials, a failed one, and one that is batched with others."""

    def fit(recipe, data, run):
        if run.trial == 3:
            raise ValueError("no")
        yield from GOOD(recipe, data, run)

    def many(recipes, data, runs):
        yield from MANY(recipes, data, runs)

    made = plan(fit, many=many, trials=6, epochs=6)
    return run_search(made), made


@pytest.fixture(autouse=True)
def _honest(fake_fit, fake_many):
    global GOOD, MANY
    GOOD, MANY = fake_fit, fake_many


def lines_of(study):
    """The journal's lines."""
    return (study.path / FILE).read_text().splitlines(keepends=True)


def damage(study, number, how):
    """Damages one line, counted from 0."""
    lines = lines_of(study)
    line = lines[number]
    lines[number] = {
        "flip": lambda: line[: len(line) // 2] + "\x01" + line[len(line) // 2 + 1 :],
        "cut": lambda: line[: len(line) // 2],
        "zero": lambda: "\x00" * (len(line) - 1) + "\n",
    }[how]()
    (study.path / FILE).write_text("".join(lines))


def facts(study):
    """What a study says of its trials."""
    return [(t.number, t.state, t.sampled, t.value, t.stage, t.batch) for t in study.trials]


def test_a_sound_journal_is_left_alone(study):
    """Nothing is rebuilt where nothing is wrong."""
    done, _ = study
    before = (done.path / FILE).read_bytes()
    found = salvage(done.path)
    assert (found.copy, found.trials, found.damage) == (None, 6, ())
    assert (done.path / FILE).read_bytes() == before


@pytest.mark.parametrize("how", ["flip", "cut", "zero"])
def test_any_line_may_be_damaged(study, how):
    """Whichever line is damaged, all trials come back with their states, hyperparameters and scores."""
    done, made = study
    whole = facts(done)
    original = lines_of(done)
    refused = 0
    for number in range(4, len(original) - 2, 1 if how == "flip" else 3):
        (done.path / FILE).write_text("".join(original))
        damage(done, number, how)
        try:
            read(done.path, made.plugins)
            assert "\x01" in "".join(lines_of(done)), number
        except StudyError:
            refused += 1
        else:
            continue  # a character inside a text, or a line that Optuna does not miss
        found = salvage(done.path)
        assert found.copy.is_file(), number
        assert found.damage, number
        assert not found.lost, (number, original[number], found.lost)
        assert facts(read(done.path, made.plugins)) == whole, (number, original[number])
        found.copy.unlink()
    assert refused > 10


def test_the_search_goes_on_after_it(study, plan):
    """A rebuilt journal is a journal: the same study goes on to a larger total."""
    done, _ = study
    damage(done, 10, "cut")
    salvage(done.path)
    after = run_search(plan(trials=8, epochs=6))
    assert [t.number for t in after.trials] == list(range(8))
    assert facts(after)[:6] == facts(done)


def test_a_lost_journal_is_rebuilt_from_the_folders(study):
    """Without any journal the folders still tell everything but the ranges, which is said."""
    done, made = study
    (done.path / FILE).unlink()
    found = salvage(done.path)
    assert found.copy is None
    assert any("the range of n, x" in line for line in found.lost)
    back = read(done.path, made.plugins)
    assert facts(back) == facts(done)


def test_a_trial_without_a_folder_is_lost_and_said(study):
    """What neither the journal nor a folder tells is gone, and the rest keeps its numbers."""
    done, made = study
    number = next(i for i, line in enumerate(lines_of(done)) if '"user_attr":{"number":2}' in line)
    created = [i for i, line in enumerate(lines_of(done)) if '"op_code":4' in line][2]
    lines = lines_of(done)
    lines[number] = ""
    lines[created] = '{"op_code":4,"wor\n'
    (done.path / FILE).write_text("".join(lines))
    shutil.rmtree(done.path / "trials" / "00002")
    found = salvage(done.path)
    assert any("left no folder" in line for line in found.lost)
    assert facts(read(done.path, made.plugins)) == [fact for fact in facts(done) if fact[0] != 2]


def test_lines_glued_together_come_apart(study):
    """Where a line has lost its end, the next one on it is whole."""
    done, made = study
    lines = lines_of(done)
    lines[12] = lines[12][:15]
    (done.path / FILE).write_text("".join(lines))
    found = salvage(done.path)
    assert len(found.damage) == 1
    assert facts(read(done.path, made.plugins)) == facts(done)


def test_a_batch_comes_back(plan, fake_many):
    """Members of batches keep their leaders and places."""
    made = plan(many=fake_many, trials=2, epochs=3, batch=4, same=("n",))
    done = run_search(made)
    for number, line in enumerate(lines_of(done)):
        if re.search(r'"batch":', line):
            damage(done, number, "flip")
            break
    found = salvage(done.path)
    assert found.copy is not None
    assert [f[:3] + f[4:] for f in facts(read(done.path, made.plugins))] == [f[:3] + f[4:] for f in facts(done)]
    assert run_search(plan(trials=2, epochs=3, batch=4, same=("n",))).state == "done"


def test_nobody_may_work_meanwhile(study):
    """A study on which a worker is at work is not rebuilt; one whose worker has died is."""
    done, _ = study
    damage(done, 10, "cut")
    attempt = done.path / "trials" / "00099" / "attempt-1"
    attempt.mkdir(parents=True)
    ended = threading.Event()

    def beat():
        count = 0
        while not ended.wait(0.1):
            count += 1
            (attempt / "alive").write_text(f"{count}\n")

    worker = threading.Thread(target=beat)
    worker.start()
    while not (attempt / "alive").exists():
        ended.wait(0.05)
    try:
        with pytest.raises(StudyError, match="a worker is at work on trials/00099/attempt-1") as caught:
            salvage(done.path)
    finally:
        ended.set()
        worker.join()
    assert "end all workers" in caught.value.hint
    assert salvage(done.path).copy is not None


def test_who_has_the_old_journal_open_is_told(study):
    """A worker that had been stopped meanwhile does not go on with the new journal by what it knew of the old one."""
    done, _ = study
    damage(done, len(lines_of(done)) - 1, "cut")
    opened = open_storage(done.path / FILE, JournalLock(done.path / LOCK))
    with (done.path / FILE).open("a") as file:
        file.write("nonsense\n" * 2)
    salvage(done.path)
    with pytest.raises(StudyError, match="replaced while it was in use"):
        opened.get_all_studies()


def test_the_command_says_what_came_of_it(study, capsys):
    """``autotune storage salvage`` prints what was damaged, restored and lost, and what to do next; or json."""
    from autotune.cli import cli

    done, _ = study
    damage(done, 10, "cut")
    cli.main(["storage", "salvage", str(done.path)], standalone_mode=False)
    said = capsys.readouterr().out
    assert f"journal.log: rebuilt, {6} trials" in said
    assert "damaged: line 11:" in said
    assert "lost: nothing" in said
    assert "the damaged one is kept as journal.log.damaged-1" in said
    cli.main(["storage", "salvage", str(done.path), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["copy"] is None
