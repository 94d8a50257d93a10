"""What is whole of a damaged journal, and what its damaged lines were.

Optuna counts: the trials of a journal have no names but their places. So where a line is lost that made a trial, a
trial without anything takes its place, and those after it keep theirs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.storages.journal._storage import JournalOperation, JournalStorageReplayResult
from optuna.trial import FrozenTrial

from autotune.engine.journal import parse, split_lines

_WORKER = "salvage"
_START = b'{"op_code"'
_NUMBERS = {key: re.compile(rf'"{key}":\s*(\d+)') for key in ("op_code", "study_id", "trial_id", "number", "batch")}
_STUDY_NAME = re.compile(r'"study_name":\s*"(\w+)"')


@dataclass(kw_only=True)
class Replay:
    """What a journal holds.

    Attributes:
        studies: Names of Optuna's studies by their numbers; one that is not known is missing.
        attributes: Their attributes.
        trials: Of each trial the number of its Optuna study, and what is known of it, in the order of the journal.
        hollow: The places of trials of which nothing is known but that they were.
        damage: A line on each damaged line of the journal.
    """

    studies: dict[int, str] = field(default_factory=dict)
    attributes: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    trials: list[tuple[int, FrozenTrial]] = field(default_factory=list)
    hollow: set[int] = field(default_factory=set)
    damage: tuple[str, ...] = ()


@dataclass
class _Piece:
    """A line of a journal, or a part of one where a damaged line holds several.

    Attributes:
        line: The line's number.
        log: The operation, or None where it is damaged.
        text: What can be read of a damaged one.
    """

    line: int
    log: Mapping[str, Any] | None
    text: str = ""

    def says(self, key: str) -> int | None:
        """A number that a damaged operation still tells."""
        match = _NUMBERS[key].search(self.text)
        return None if match is None else int(match[1])

    @property
    def makes(self) -> str | None:
        """``study`` or ``trial`` where a damaged operation made one, as far as it can be told."""
        code = self.says("op_code")
        if code == JournalOperation.CREATE_STUDY or (code is None and "study_name" in self.text):
            return "study"
        if code == JournalOperation.CREATE_TRIAL or (code is None and self._made_trial):
            return "trial"
        return None

    @property
    def _made_trial(self) -> bool:
        return '"study_id"' in self.text and "datetime_start" in self.text


def replay(content: bytes) -> Replay:
    """Makes the studies and trials of a journal again, damaged lines left out."""
    pieces = list(_pieces(content))
    created = sum(_makes_trial(piece) for piece in pieces)
    known = [piece.log["trial_id"] for piece in pieces if piece.log and isinstance(piece.log.get("trial_id"), int)]
    short = max(known, default=-1) + 1 - created  # trials that are spoken of and that no line made
    result, found = JournalStorageReplayResult(""), Replay()
    damage: list[str] = []
    for piece in pieces:
        log = piece.log
        if log is None:
            unknown = piece.makes is None and piece.says("op_code") is None
            if piece.makes == "trial" or (unknown and short > 0):
                short -= piece.makes is None
                _make_hollow(result, found, piece)
            elif piece.makes == "study":
                _make_study(result, piece)
            damage.append(f"line {piece.line}: {_told(piece)}")
            continue
        while isinstance(log.get("trial_id"), int) and log["trial_id"] >= len(result._trials) and short > 0:
            short -= 1
            _make_hollow(result, found, piece)
        if problem := _applied(result, log):
            damage.append(f"line {piece.line}: {problem}")
    named = {s._study_id: s for s in result.get_all_studies()}
    found.studies |= {number: s.study_name for number, s in named.items() if not s.study_name.startswith(_WORKER)}
    found.attributes = {number: dict(s.user_attrs) for number, s in named.items()}
    found.trials = [(result._trial_id_to_study_id[place], trial) for place, trial in sorted(result._trials.items())]
    found.damage = tuple(damage)
    return found


def _pieces(content: bytes) -> Iterator[_Piece]:
    for number, line in enumerate(split_lines(content), start=1):
        log, _ = parse(line)
        if log is not None:
            yield _Piece(number, log)
            continue
        parts = line.split(_START)
        for part in [parts[0], *(_START + rest for rest in parts[1:])]:
            whole, _ = parse(part.rstrip(b"\n") + b"\n")
            if whole is not None:
                yield _Piece(number, whole)
            elif part.strip(b"\n"):
                yield _Piece(number, None, part.decode(errors="replace"))


def _makes_trial(piece: _Piece) -> bool:
    return piece.makes == "trial" if piece.log is None else piece.log["op_code"] == JournalOperation.CREATE_TRIAL


def _applied(result: JournalStorageReplayResult, log: Mapping[str, Any]) -> str | None:
    """Applies an operation; why it cannot be, where it cannot."""
    try:
        result.apply_logs([dict(log)])
    except (KeyError, ValueError, TypeError, AttributeError, AssertionError, IndexError) as error:
        return f"it cannot be carried out ({type(error).__name__}: {error})"
    return None


def _make_hollow(result: JournalStorageReplayResult, found: Replay, piece: _Piece) -> None:
    """Makes a trial of which only its place is known, with what the damaged line still tells."""
    studies = list(result._studies)
    study = piece.says("study_id")
    if study not in studies:
        study = studies[0] if studies else None
    if study is None:
        _make_study(result, piece)
        study = 0
    told = {key: value for key in ("number", "batch") if (value := piece.says(key)) is not None}
    log = {"op_code": JournalOperation.CREATE_TRIAL, "worker_id": _WORKER, "study_id": study, "datetime_start": None}
    found.hollow.add(len(result._trials))
    result.apply_logs([{**log, "user_attrs": told}])


def _make_study(result: JournalStorageReplayResult, piece: _Piece) -> None:
    number = result._next_study_id
    match = _STUDY_NAME.search(piece.text)
    name = match[1] if match else f"{_WORKER}-{number}"
    log = {"op_code": JournalOperation.CREATE_STUDY, "worker_id": _WORKER, "study_name": name, "directions": [1]}
    result.apply_logs([log])


def _told(piece: _Piece) -> str:
    """What a damaged line held, for a person."""
    code = piece.says("op_code")
    names: Sequence[JournalOperation] = tuple(JournalOperation)
    name = next((op.name.lower().replace("_", " ") for op in names if op.value == code), "it cannot be told what")
    trial = piece.says("trial_id")
    of = "" if trial is None else f" of Optuna's trial {trial}"
    shown = json.dumps(piece.text[:60].strip())
    return f"{name}{of}: {shown}{'...' if len(piece.text) > 60 else ''}"
