"""Damage hits the newest checkpoint of a trial that runs, and is noticed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rot

import autotune


def attempt(study: Path, trial: int, number: int, *, end: str | None = None, epochs: int = 2) -> Path:
    """An attempt with a checkpoint an epoch; every later one is newer."""
    folder = study / "trials" / f"{trial:05d}" / f"attempt-{number}"
    folder.mkdir(parents=True)
    lines: list[dict[str, object]] = [{"start": 0.0}]
    for at in range(1, epochs + 1):
        saved = autotune.write_checkpoint(folder / f"checkpoint-{at}.safetensors", {"w": np.ones(999)}, {"at": at})
        when = 1_000_000_000 + 10 * trial + at
        os.utime(saved.path.with_suffix(".json"), (when, when))
        lines.append({"at": at, "checkpoint": saved.path.name})
    if end is not None:
        lines.append({"end": end})
    (folder / "epochs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_newest_of_those_that_run(tmp_path):
    """Trials that have ended are left in peace, and so are attempts that others have gone on from."""
    assert rot.newest(tmp_path) is None
    attempt(tmp_path, 0, 1)
    running = attempt(tmp_path, 1, 1)
    attempt(tmp_path, 2, 1)
    attempt(tmp_path, 2, 2, end="complete")
    attempt(tmp_path, 3, 1, end="pruned")
    assert rot.newest(tmp_path) == running / "checkpoint-2"


def test_an_attempt_is_damaged_once(tmp_path):
    """So that the checkpoint before stays whole, from which its trial goes on."""
    attempt(tmp_path, 0, 1)
    found = rot.newest(tmp_path)
    assert found is not None
    rot.damage(found, cut=True, share=0.5)
    assert rot.newest(tmp_path) is None
    assert len(autotune.read_checkpoint(found.with_name("checkpoint-1.safetensors")).tensors()) == 1


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.501, 0.999])
def test_damage_is_noticed(tmp_path, cut, share):
    """Wherever a checkpoint is cut or altered, reading it says so."""
    folder = attempt(tmp_path, 0, 1)
    path = rot.damage(folder / "checkpoint-2", cut=cut, share=share)
    before = len(folder.joinpath("checkpoint-1" + path.suffix).read_bytes())
    assert (len(path.read_bytes()) < before) == cut
    with pytest.raises(autotune.CheckpointError):
        autotune.read_checkpoint(folder / "checkpoint-2.safetensors").tensors()
