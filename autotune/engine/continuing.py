"""The end of the time: what is left is better spent on training the leader longer than on a new trial."""

from __future__ import annotations

from autotune.study import Study, Trial

RUNG = 3
TRAININGS = 2
_SLACK = 1e-6


def too_late(study: Study, left: float) -> bool:
    """Whether the seconds left are fewer than the quickest trial so far took to its first rung.

    While none has come that far, its quickest single epoch counts.
    """
    rungs, epochs = [], []
    for trial in study.trials:
        if trial.stage != "search" or not trial.curve:
            continue
        early = [p for p in trial.curve if p.at <= RUNG + _SLACK]
        epochs.append(early[0].seconds if early else trial.curve[0].seconds)
        if trial.curve[-1].at >= RUNG - _SLACK or trial.state == "complete":
            rungs.append(sum(p.seconds for p in early))
    return bool(epochs) and left < min(rungs or epochs)


def nearly_over(study: Study, left: float) -> bool:
    """Whether fewer than two trainings like the leader's fit into the seconds left.

    A new trial would have to beat the leader at once; the leader itself, at a constant rate and with averaged
    weights, goes on from where it stands.
    """
    leader = study.leader
    return leader is not None and left < TRAININGS * sum(point.seconds for point in leader.curve)


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
    whole = [p.seconds for p in leader.curve[1:]] or [last.seconds]
    epoch = sum(whole) / len(whole)
    setup = max(leader.curve[0].seconds - epoch, 0.0)
    more = int((0.9 * left - setup) / max(epoch, 1e-3))
    if last.checkpoint is None or last.at != int(last.at) or more < 1:
        return None
    return leader, int(last.at) + min(more, 2 * int(last.at))
