"""The end of the time: what is left is better spent on training the leader longer than on a new trial."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.study import SLACK, Study, Trial

FIRST = 3
TRAININGS = 2


def too_late(study: Study, left: float) -> bool:
    """Whether the seconds left are fewer than the quickest trial so far took for three epochs.

    While none has come that far, its quickest single epoch counts. A batch counts as one trial.
    """
    rungs, epochs = [], []
    batches: dict[int | None, list[Trial]] = {}
    for trial in study.trials:
        batches.setdefault(trial.batch, []).append(trial)
    for trial in study.trials:
        if trial.stage != "search" or trial.follows:
            continue
        if not (times := _times([trial] if trial.batch is None else batches[trial.batch])):
            continue
        early = [seconds for at, seconds in times if at <= FIRST + SLACK]
        epochs.append(early[0] if early else times[0][1])
        if times[-1][0] >= FIRST - SLACK or trial.state == "complete":
            rungs.append(sum(early))
    return bool(epochs) and left < min(rungs or epochs)


def nearly_over(study: Study, left: float) -> bool:
    """Whether fewer than two trainings like the leader's, or its batch's, fit into the seconds left.

    A new trial would have to beat the leader at once; the leader itself, at a constant rate and with averaged
    weights, goes on from where it stands.
    """
    leader = study.leader
    return leader is not None and left < TRAININGS * sum(seconds for _, seconds in _times(_batch(study, leader)))


def _batch(study: Study, trial: Trial) -> list[Trial]:
    """A trial with the others of its batch."""
    return [trial] if trial.batch is None else [t for t in study.trials if t.batch == trial.batch]


def _times(batch: Iterable[Trial]) -> list[tuple[float, float]]:
    """The epochs of a trial, or a batch, and the wall time of each in seconds, of a batch all together.

    What one recipe of a batch would take by itself is not known; it is no more than that.
    """
    times: dict[float, float] = {}
    for point in (point for one in batch for point in one.curve):
        times[point.at] = times.get(point.at, 0.0) + point.seconds
    return sorted(times.items())


def continuation(study: Study, left: float) -> tuple[Trial, int] | None:
    """The leader and the epochs that it could be trained to in the seconds left, or None.

    It must have run to its end, have its last checkpoint, not have been continued before, and get at least
    one more epoch; at most, its training is tripled.
    """
    leader = study.leader
    if leader is None or leader.state != "complete":
        return None
    if any(t.parent == leader.number for t in study.trials):
        return None
    last = leader.curve[-1]
    times = [seconds for _, seconds in _times(_batch(study, leader))]
    whole = times[1:] or times
    epoch = sum(whole) / len(whole)
    setup = max(times[0] - epoch, 0.0)
    more = int((0.9 * left - setup) / max(epoch, 1e-3))
    if last.checkpoint is None or last.at != int(last.at) or more < 1:
        return None
    return leader, int(last.at) + min(more, 2 * int(last.at))
