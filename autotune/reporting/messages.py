"""What commands print of a study, its trials and its best model."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.after.evaluation import Evaluation
from autotune.after.gate import sentence
from autotune.after.predicting import Prediction
from autotune.durations import format_epochs
from autotune.reporting import batches, screenings
from autotune.reporting.numbers import counts, effects, epochs, of_tasks
from autotune.reporting.report import next_steps, reproduce
from autotune.reporting.tables import cell, duration, plain
from autotune.study import Best, Study, Trial


def closing(study: Study, *, went_on: bool) -> str:
    """The end of a search: the winner, how to train it again, what to do next."""
    lines = []
    if not went_on:
        lines.append(f"{study.path} is done: {_totals(study)}; nothing was trained. Larger totals let it go on.")
    if study.best is not None:
        lines += [best(study, study.best), "", "next"]
        lines += [f"  {command}  # {what}" for command, what in next_steps(study)]
    lines.append(f"  {study.path}/report.md  # all of it")
    return "\n".join(lines)


def left(study: Study, reason: str) -> str:
    """The end of a worker: why it left, and how far the study is."""
    states = ", ".join(f"{n} {state}" for state, n in counts(study).items())
    return f"left {study.path}: {reason}; trials: {states or 'none'}"


def best(study: Study, found: Best) -> str:
    """The best model, with the command that trains it again."""
    metric = study.objective.main.metric
    lines = [
        f"best: trial {found.trial.number} after {format_epochs(found.at)}, in {found.path}",
        f"  {metric} {cell(found.metrics.get(metric))} on validation images (optimistic: the search chose by them)",
    ]
    lines += [f"  {name} {cell(value)}" for name, value in of_tasks(found.metrics, metric)]
    if metric in found.select:
        lines.append(f"  {metric} {cell(found.select[metric])} on the images kept for the choice among finalists")
    lines += [f"  {sentence(step)}" for step in found.after_training if step["kept"]]
    lines += [f"  {name} = {cell(value)}" for name, value in found.trial.recipe.items()]
    return "\n".join([*lines, "train it again", f"  {reproduce(study, found.trial)}"])


def status(study: Study) -> str:
    """How far a study is."""
    lines = [f"{study.name}: {study.state}, {_totals(study)}"]
    if study.screened:
        lines.append(f"before the search: {screenings.count(study)}")
    states = ", ".join(f"{n} {state}" for state, n in counts(study).items())
    if any(trial.follows for trial in study.trials):
        lines.append(f"trials: {states}")
    else:
        lines.append(f"trials: {states or 'none'}" + (f" of {study.wanted}" if study.wanted else ""))
    if (leader := study.leader) is not None:
        lines.append(f"best so far: {study.objective.main.metric} {cell(leader.value)} (trial {leader.number})")
    running = [trial for trial in study.trials if trial.state == "running"]
    for trial in running:
        if trial.stage == "screen":
            lines.append(f"running: a look at {screenings.backbone_of(trial)}")
            continue
        together = [t for t in running if t.batch == trial.batch] if trial.batch is not None else [trial]
        if trial is together[0]:
            state = trial.reason or f"attempt {trial.attempts}"
            lines.append(f"running: {batches.name(together)}, {format_epochs(epochs(trial))}, {state}")
    if study.best is not None:
        lines.append(f"best model: {study.best.path} (trial {study.best.trial.number})")
    return "\n".join(lines)


def trials(study: Study, shown: Sequence[Trial]) -> str:
    """A table of trials; the hyperparameters in it are those along which scores differ most.

    Screenings have a table of their own above it.
    """
    looks, shown = [t for t in shown if t.stage == "screen"], [t for t in shown if t.stage != "screen"]
    names = [e.name for e in effects(study)][:5] or list(dict.fromkeys(k for t in shown for k in t.sampled))[:5]
    head = ["trial", "state", study.objective.main.metric, "epochs", "time", *names, "why"]
    rows = [
        [t.number, t.state, t.value, epochs(t), duration(t.seconds), *(t.recipe.get(n) for n in names), _why(t)]
        for t in shown
    ]
    return "\n\n".join([*([screenings.table(study, looks)] if looks else []), plain(head, rows)])


def evaluation(found: Evaluation) -> str:
    """Test scores, and how often the test set was opened."""
    low, high = found.accuracy_interval
    rows = [[name, share] for name, share in found.per_class.items()]
    times = "once, now" if found.opened == 1 else f"{found.opened} times, this time included"
    of_task = "" if found.task is None else f"{found.task}: "
    averaged = "" if found.tta == "none" else f", test-time augmentation {found.tta}"
    lines = [
        f"{of_task}{found.n:,} test images, model {found.model}{averaged}",
        f"  accuracy {found.accuracy:.4f} (95 % interval {low:.4f} .. {high:.4f})",
        f"  balanced accuracy {found.balanced_accuracy:.4f}, macro F1 {found.macro_f1:.4f}, "
        f"log loss {found.log_loss:.4f}, AUROC {found.auroc:.4f}, Cohen's kappa {found.cohen_kappa:.4f}",
        plain(["class", "accuracy"], rows),
        f"this test set has been opened {times}",
    ]
    if found.opened > 1:
        lines.append("a score is honest only if nothing was changed because of an earlier one")
    return "\n".join([*lines, *("\n" + evaluation(other) for other in found.others)])


def prediction(found: Prediction) -> str:
    """One image's line: path, class, probability; further classes after it."""
    if found.problem is not None:
        return f"error: {found.problem}"
    return "\t".join([str(found.path), *(f"{label}\t{share:.4f}" for label, share in found.top)])


def _totals(study: Study) -> str:
    time = f"{duration(study.spent)} spent" + (f" of {duration(study.time)}" if study.time else "")
    return f"{batches.total(study)}, {time}"


def _why(trial: Trial) -> str:
    why = f"{trial.failure.kind}: {trial.failure.reason}" if trial.failure else trial.reason
    return "; ".join(filter(None, (batches.continued(trial), why)))
