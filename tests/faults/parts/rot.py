"""Damage: the newest checkpoint of a trial that has not ended is cut short, or a byte of it is flipped."""

from __future__ import annotations

import json
from pathlib import Path

SUFFIXES = (".safetensors", ".safetensors", ".safetensors", ".json")
"""Which file of a checkpoint is damaged, one as likely as the other."""


def newest(study: Path) -> Path | None:
    """The newest checkpoint of a trial that has not ended, without suffix; None where no such trial has one.

    An attempt of which one checkpoint was damaged is left out: that the one before it is whole is what saves a trial.
    """
    found = []
    for attempt in study.glob("trials/*/attempt-*"):
        if (attempt / "damaged").exists() or attempt != _last(attempt.parent) or _ended(attempt):
            continue
        found += [(path.stat().st_mtime_ns, path.with_suffix("")) for path in attempt.glob("checkpoint-*.json")]
    return max(found)[1] if found else None


def damage(checkpoint: Path, *, cut: bool, share: float) -> Path:
    """Damages one of the two files of a checkpoint, and keeps in its attempt's folder which.

    Args:
        checkpoint: Its path without suffix.
        cut: Whether to cut it short; else a byte is flipped.
        share: Where, 0 to 1; also says which file.

    Returns:
        The file.
    """
    path = checkpoint.with_name(checkpoint.name + SUFFIXES[int(share * 997) % len(SUFFIXES)])
    content = bytearray(path.read_bytes())
    place = min(int(share * len(content)), len(content) - 1)
    if cut:
        del content[place:]
    else:
        content[place] ^= 0x10
    path.write_bytes(content)
    (checkpoint.parent / "damaged").write_text(f"{path.name}\n")
    return path


def _last(trial: Path) -> Path:
    """The newest attempt of a trial."""
    return max(trial.glob("attempt-*"), key=lambda path: int(path.name.rpartition("-")[2]))


def _ended(attempt: Path) -> bool:
    """Whether an attempt has written down how it ended."""
    try:
        lines = (attempt / "epochs.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return False
    return any("end" in json.loads(line) for line in lines if line.endswith("}"))
