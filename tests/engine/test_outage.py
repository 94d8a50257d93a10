"""Disks that fill, and folders that are read-only, for a while: on a small disk that really does."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from autotune import Epoch
from autotune.engine import outage, run_search
from autotune.engine.attempt import EPOCHS
from autotune.engine.lines import append_line, read_lines
from autotune.errors import StudyError

MB = 1 << 20


class Disk:
    """A tmpfs of two megabytes."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.frozen: Path | None = None

    def fill(self, room: int = 0) -> None:
        """Leaves so many bytes."""
        with (self.place / "ballast").open("wb", buffering=0) as file:
            for block in (1 << 16, 1 << 12):
                with contextlib.suppress(OSError):
                    while file.write(bytes(block)) == block:
                        pass
            file.truncate(max(0, file.tell() - room))

    def free(self) -> None:
        """Gives the room back."""
        (self.place / "ballast").unlink(missing_ok=True)

    def freeze(self, folder: Path) -> None:
        """Makes a folder read-only; the whole disk cannot be while a file of it is open for writing."""
        mount("--bind", str(folder), str(folder))
        self.frozen = folder
        mount("-o", "remount,bind,ro", str(folder))

    def thaw(self) -> None:
        """Makes it writable again."""
        if self.frozen is not None:
            subprocess.run(["umount", "-l", str(self.frozen)], check=True)
            self.frozen = None


def mount(*words: str) -> None:
    """Mounts something."""
    subprocess.run(["mount", *words], check=True, capture_output=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Disk]:
    """A small disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mount("-t", "tmpfs", "-o", f"size={2 * MB}", "tmpfs", str(place))
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"a tmpfs cannot be mounted here: {error}")
    disk = Disk(place)
    try:
        yield disk
    finally:
        disk.thaw()
        subprocess.run(["umount", "-l", str(place)], check=True)


def after(seconds: float, action: Callable[[], None]) -> None:
    """Does something in a while."""
    threading.Timer(seconds, action).start()


def large(recipe, data, run):
    """A trainer whose checkpoints have 300 kB, and whose score grows and then falls; it resumes."""
    done = 0 if run.resume is None else int(run.resume.facts["at"])
    while done < run.epochs:
        if run.stop():
            return
        done += 1
        saved = run.save({"w": np.full(300_000, done, np.uint8)}, {"at": done})
        yield Epoch(at=done, images=10, metrics={"accuracy": recipe.x * (10 - abs(done - 5))}, checkpoint=saved)


def told(found: list[warnings.WarningMessage]) -> list[str]:
    """What was warned about."""
    return [str(one.message) for one in found]


def test_without_room_for_checkpoints_the_training_goes_on(plan, small):
    """Epochs whose checkpoint does not fit are recorded without; it is said once, with path and errno, and noted."""

    def fit(recipe, data, run):
        for epoch in large(recipe, data, run):
            yield epoch
            if epoch.at == 3:
                small.fill(room=100_000)
            if epoch.at == 6:
                small.free()

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        study = run_search(plan(fit, runs=small.place, trials=1, epochs=8))
    (trial,) = study.trials
    assert (trial.state, [p.at for p in trial.curve], trial.attempts) == ("complete", [*range(1, 9)], 1)
    (line,) = told(found)
    assert "attempt-1/checkpoint-4.safetensors: the checkpoint cannot be written (ENOSPC: No space left" in line
    assert "epochs 4 to 6" in "".join(trial.notes)
    left = sorted(p.name for p in (study.path / "trials/00000/attempt-1").glob("*.safetensors"))
    assert left == ["checkpoint-3.safetensors", "checkpoint-7.safetensors", "checkpoint-8.safetensors"]


def test_a_disk_that_stays_full_ends_with_the_best_that_was_saved(plan, small):
    """The best epoch that could be saved is kept, though others after it scored better."""

    def fit(recipe, data, run):
        for epoch in large(recipe, data, run):
            yield epoch
            if epoch.at == 3:
                small.fill(room=100_000)

    with pytest.warns(UserWarning, match="ENOSPC"):
        study = run_search(plan(fit, runs=small.place, trials=1, epochs=8))
    (trial,) = study.trials
    assert (trial.state, len(trial.curve)) == ("complete", 8)
    assert [p.at for p in trial.curve if p.checkpoint] == [2, 3]
    assert not list(study.path.rglob(".*.part"))


@pytest.mark.parametrize("hurt", ["full", "frozen"])
def test_what_takes_nothing_for_a_while_is_waited_for(plan, small, hurt):
    """A disk without a byte of room, or a read-only study, for a second: the search goes on, and nothing is twice."""
    runs = small.place

    def fit(recipe, data, run):
        for epoch in large(recipe, data, run):
            yield epoch
            if epoch.at == 3:
                if hurt == "full":
                    small.fill()
                    after(1.0, small.free)
                else:
                    small.freeze(runs / "study")
                    after(1.0, small.thaw)

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        study = run_search(plan(fit, runs=runs, trials=2, epochs=6, pruner="none"))
    assert [(t.state, [p.at for p in t.curve], t.attempts) for t in study.trials] == [
        ("complete", [*range(1, 7)], 1)
    ] * 2
    code = "ENOSPC" if hurt == "full" else "EROFS"
    assert found
    assert all(code in line for line in told(found))
    lines = read_lines(study.path / "trials" / "00000" / "attempt-1" / EPOCHS)
    assert [line["at"] for line in lines if "at" in line] == [*range(1, 7)]


def test_patience_ends(tmp_path, small):
    """Without patience, or when it is over, or somebody wants an end, the error comes."""
    path = small.place / "lines.jsonl"
    append_line(path, {"x": "y" * 4000})
    small.fill()
    with pytest.raises(StudyError, match=r"lines\.jsonl: cannot be written \(No space left"):
        append_line(path, {"x": "y" * 4000})
    for seconds, wanted, longest in ((0.5, False, 2.0), (60.0, True, 0.4)):
        begin = time.monotonic()
        with outage.patient(seconds, lambda wanted=wanted: wanted), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(StudyError):
                append_line(path, {"x": "y" * 4000})
        assert time.monotonic() - begin < longest
    small.free()
    append_line(path, {"x": 1})
    assert [len(str(line["x"])) for line in read_lines(path)] == [4000, 1]


def test_other_errors_are_not_waited_for(tmp_path):
    """What does not pass by itself is raised at once."""
    begin = time.monotonic()
    with outage.patient(60.0, lambda: False), pytest.raises(FileNotFoundError):
        outage.insist(tmp_path / "x", lambda: (tmp_path / "gone" / "x").touch())
    assert time.monotonic() - begin < 1
    assert not outage.passes(OSError(errno.EFBIG, "File too large"))
