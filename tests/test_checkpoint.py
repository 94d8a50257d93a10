"""Checkpoints: written whole or not at all, and not believed when they changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import autotune
from autotune.checkpoint import FORMAT, read_checkpoint, write_atomically, write_checkpoint

TENSORS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "count": np.array(7, np.int64)}


@pytest.fixture
def path(tmp_path):
    """A checkpoint that was written."""
    path = tmp_path / "checkpoint-1.safetensors"
    write_checkpoint(path, TENSORS, {"at": 1.0, "classes": ["a", "b"]})
    return path


def test_what_was_written_is_read(path):
    """Tensors and facts come back bit by bit, with format and checksum added."""
    checkpoint = read_checkpoint(path)
    tensors = checkpoint.tensors()
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert tensors[name].dtype == value.dtype
        assert np.array_equal(tensors[name], value)
    assert checkpoint.facts["classes"] == ["a", "b"]
    assert checkpoint.facts["format"] == FORMAT
    assert sorted(p.name for p in path.parent.iterdir()) == ["checkpoint-1.json", "checkpoint-1.safetensors"]


def test_torch_and_numpy_write_the_same(path, tmp_path):
    """Tensors of torch give the same file, and are read as tensors where that is asked for."""
    import torch

    other = tmp_path / "torch.safetensors"
    tensors = {name: torch.from_numpy(value.copy()) for name, value in TENSORS.items()}
    tensors["weight"] = tensors["weight"].T.contiguous().T.requires_grad_()
    write_checkpoint(other, tensors, {})
    assert read_checkpoint(other).facts["sha256"] == read_checkpoint(path).facts["sha256"]
    assert torch.equal(read_checkpoint(path).tensors("torch")["weight"], tensors["weight"])


@pytest.mark.parametrize("length", [0, 10, -1])
def test_a_cut_file_is_refused(path, length):
    """A file that lost its end is an error that names it, before anything is made of it."""
    path.write_bytes(path.read_bytes()[:length])
    checkpoint = read_checkpoint(path)
    with pytest.raises(autotune.CheckpointError, match="not those that were saved") as caught:
        checkpoint.tensors()
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_an_altered_byte_is_noticed(path):
    """One changed bit is an error."""
    blob = bytearray(path.read_bytes())
    blob[-3] ^= 1
    path.write_bytes(blob)
    with pytest.raises(autotune.CheckpointError, match="not those that were saved"):
        read_checkpoint(path).tensors()


def test_vanished_tensors_are_an_error(path):
    """Facts whose tensors are gone are an error when the tensors are read."""
    path.unlink()
    with pytest.raises(autotune.CheckpointError, match="cannot be read"):
        read_checkpoint(path).tensors()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "not a checkpoint's facts"),
        ("{}", "not a checkpoint's facts"),
        ('{"format": "1"}', "not a checkpoint's facts"),
        ('{"format": 99}', "format 99 is newer"),
        ("\udcff", "cannot be read"),
    ],
)
def test_facts_that_cannot_be_believed(path, text, said):
    """Facts that are no json, or not a checkpoint's, or of a newer format, are an error."""
    path.with_suffix(".json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(autotune.CheckpointError, match=said):
        read_checkpoint(path)


@pytest.mark.parametrize("change", [{"at": 2.0}, {"classes": ["a", "c"]}, {"added": 1}, {"facts_sha256": "0"}])
def test_altered_facts_are_noticed(path, change):
    """Facts that are json and not those that were saved are an error; their layout does not matter."""
    facts = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(facts, separators=(",", ":"), sort_keys=True))
    assert read_checkpoint(path).facts["at"] == 1.0
    path.with_suffix(".json").write_text(json.dumps({**facts, **change}))
    with pytest.raises(autotune.CheckpointError, match=r"checkpoint-1\.json: these are not the facts that were saved"):
        read_checkpoint(path)


def test_a_checkpoint_of_the_first_format_is_read(path):
    """Before format 2 facts had no checksum of their own."""
    facts = json.loads(path.with_suffix(".json").read_text())
    del facts["facts_sha256"]
    path.with_suffix(".json").write_text(json.dumps({**facts, "format": 1, "at": 7.0}))
    assert read_checkpoint(path).facts["at"] == 7.0
    assert read_checkpoint(path).tensors().keys() == TENSORS.keys()


def test_facts_that_do_not_fit_leave_no_tensors(tmp_path, disk):
    """Where the disk takes the tensors and not the facts, neither lies about."""
    path = tmp_path / "x.safetensors"
    disk(1000)
    with pytest.raises(OSError, match="File too large"):
        write_checkpoint(path, TENSORS, {"text": "x" * 2000})
    disk(None)
    assert not list(tmp_path.iterdir())


def test_a_newer_format_says_to_upgrade(path):
    """The remedy for a newer format is a newer autotune."""
    facts = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**facts, "format": FORMAT + 1}))
    with pytest.raises(autotune.CheckpointError) as caught:
        read_checkpoint(path)
    assert "pip install -U" in caught.value.hint


def test_no_checkpoint_is_an_error(tmp_path):
    """A place without a checkpoint says so."""
    with pytest.raises(autotune.CheckpointError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "x.safetensors")


def test_facts_must_be_json(tmp_path):
    """Facts that json cannot hold raise before anything is written."""
    for facts in ({"x": float("nan")}, {"x": object()}):
        with pytest.raises((ValueError, TypeError)):
            write_checkpoint(tmp_path / "x.safetensors", TENSORS, facts)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    """When the last step fails the old content stands, and no part of the new one lies about."""
    path = tmp_path / "x"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert path.read_bytes() == b"old"


def test_killed_while_writing_it_stays_whole(tmp_path):
    """Killed at any moment, a file holds one of the contents that were written, never a mixture."""
    path = tmp_path / "x"
    code = (
        "import sys; from pathlib import Path; from autotune.checkpoint import write_atomically\n"
        "while True:\n"
        "    for letter in b'ab':\n"
        "        write_atomically(Path(sys.argv[1]), bytes([letter]) * 3_000_000)\n"
    )
    for wait in (0.01, 0.03, 0.06):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
        while not path.exists():
            time.sleep(0.01)
        time.sleep(wait)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        content = path.read_bytes()
        assert len(content) == 3_000_000
        assert content in (b"a" * 3_000_000, b"b" * 3_000_000)
