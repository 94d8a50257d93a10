"""The study's report: ``report.md`` and ``trials.csv``."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.checkpoint import write_atomically
from autotune.durations import format_duration, format_epochs
from autotune.reporting import numbers, screenings
from autotune.reporting.polish import after_training, teacher
from autotune.reporting.tables import cell, duration, markdown
from autotune.study import Study, Trial

TOP = 10


def write_report(study: Study) -> Path:
    """Writes ``report.md`` and ``trials.csv`` into the study's folder and returns the former's path."""
    write_atomically(study.path / "trials.csv", trials_csv(study).encode())
    path = study.path / "report.md"
    write_atomically(path, report(study).encode())
    return path


def report(study: Study) -> str:
    """The report in markdown."""
    parts = [
        _head(study),
        _winner(study),
        _improved(study),
        after_training(study),
        teacher(study),
        _chosen(study),
        screenings.section(study),
        _ranking(study),
        _mattered(study),
        _ended(study),
    ]
    return "\n\n".join(p for p in [*parts, _time(study), _next(study)] if p) + "\n"


def trials_csv(study: Study) -> str:
    """Every trial as a line: number, state, value, epochs, seconds, its recipe and its scores."""
    recipe = list(dict.fromkeys(k for t in study.trials for k in t.recipe))
    metrics = list(dict.fromkeys(k for t in study.trials for k in t.metrics))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fixed = ["number", "state", "stage", "value", "epochs", "seconds", "attempts", "seed", "batch", "failure", "reason"]
    writer.writerow([*fixed, *(f"metrics.{m}" for m in metrics), *(f"recipe.{k}" for k in recipe)])
    for t in study.trials:
        failure = t.failure.kind if t.failure else None
        reason = t.failure.reason if t.failure else t.reason
        row: list[object] = [
            t.number,
            t.state,
            t.stage,
            t.value,
            numbers.epochs(t),
            round(t.seconds, 2),
            t.attempts,
            t.seed,
            t.batch,
        ]
        row += [failure, reason, *(t.metrics.get(m) for m in metrics), *(t.recipe.get(k) for k in recipe)]
        writer.writerow(row)
    return out.getvalue()


def reproduce(study: Study, trial: Trial) -> str:
    """The command that trains one trial's recipe again, in a study of its own."""
    folder = shlex.quote(str(study.path))
    recipe = shlex.quote(f"{study.path}/trials/{trial.number:05d}/recipe.toml")
    return f"autotune search {folder}/study.toml name={study.name}-again recipe={recipe} --trials 1"


def next_steps(study: Study) -> tuple[tuple[str, str], ...]:
    """What to do with a finished study: commands, and what each is for."""
    folder = shlex.quote(str(study.path))
    return (
        (f"autotune predict {folder} IMAGES...", "use the model"),
        (f"autotune evaluate {folder} --unlock-test", "measure it once on the locked test images"),
        (f"autotune search {folder}/study.toml {_longer(study)}", "let the same study go on"),
    )


def _longer(study: Study) -> str:
    totals = [f"time={format_duration(2 * study.time)}"] if study.time else []
    return " ".join(totals + ([f"trials={2 * study.wanted}"] if study.wanted else []))


def _head(study: Study) -> str:
    places = study.config.get("data", "?")
    data = places if isinstance(places, str) else "`, `".join(places)
    goals = ", then ".join(f"{g.metric} ({g.direction})" for g in study.objective.goals)
    totals = ([duration(study.time)] if study.time else []) + ([f"{study.wanted} trials"] if study.wanted else [])
    budget = " and ".join(totals)
    states = ", ".join(f"{n} {s}" for s, n in numbers.counts(study).items()) or "none"
    grouped = sum(t.follows for t in study.trials)
    return "\n".join(
        [
            f"# Study {study.name}",
            "",
            f"Which fine-tuned model is best on `{data}` by {goals}, within {budget or 'the time given'}?",
            "",
            f"- command: `autotune search {shlex.quote(str(study.path))}/study.toml`",
            f"- state: {study.state}, {duration(study.spent)} spent",
            f"- trials: {len(study.trained)} ({states})",
            *([f"- before them, {screenings.count(study)}"] if study.screened else []),
            *(
                [f"- {grouped} of them were trained together with another one; a batch counts as one"]
                if grouped
                else []
            ),
        ]
    )


def _winner(study: Study) -> str:
    best, metric = study.best, study.objective.main.metric
    if best is None:
        return "## Winner\n\nNone: no trial has a score and a checkpoint."
    lines = [
        "## Winner",
        "",
        f"Trial {best.trial.number} after {format_epochs(best.at)}, in `{best.path}`.",
        "",
        f"- {metric} on validation images: **{cell(best.metrics.get(metric))}**. This is optimistic, for the search "
        "chose by these images; the test images give the honest number, once.",
    ]
    lines += [f"- {name} on validation images: {cell(value)}" for name, value in numbers.of_tasks(best.metrics, metric)]
    if metric in best.select:
        lines.append(f"- {metric} on the images kept for the choice among finalists: {cell(best.select[metric])}")
    lines += ["", markdown(["hyperparameter", "value"], list(best.trial.recipe.items()))]
    return "\n".join(lines)


def _improved(study: Study) -> str:
    """What `autotune improve` found; it keeps that beside the report."""
    path = study.path / "improvement.json"
    return f"## Better than before?\n\n{json.loads(path.read_text())['verdict']}" if path.is_file() else ""


def _chosen(study: Study) -> str:
    made: Mapping[str, Any] = study.config.get("made") or {}
    blocks = []
    if found := [*_lines(made.get("found")), *_lines(made.get("near"))]:
        blocks.append("## Data\n\n" + "\n".join(found))
    if reasons := _lines(made.get("reasons")):
        blocks.append("## What was chosen, and why\n\n" + "\n".join(reasons))
    return "\n\n".join(blocks)


def _lines(value: object) -> list[str]:
    return [f"- {line}" for line in value] if isinstance(value, Sequence) and not isinstance(value, str) else []


def _ranking(study: Study) -> str:
    ranked = numbers.ranking(study)
    if not ranked:
        return ""
    varied = [n for n in dict.fromkeys(k for t in ranked for k in t.sampled) if _varies(ranked, n)]
    shown = [e.name for e in numbers.effects(study) if e.name in varied][:5] or varied[:5]
    head = ["trial", study.objective.main.metric, "state", "epochs", "time", *shown]
    rows = [
        [t.number, t.value, t.state, numbers.epochs(t), duration(t.seconds), *(t.recipe.get(n) for n in shown)]
        for t in ranked[:TOP]
    ]
    more = f"\n\nThe first {TOP} of {len(ranked)}; all are in `trials.csv`." if len(ranked) > TOP else ""
    return "## Ranking\n\n" + markdown(head, rows) + more


def _varies(trials: Sequence[Trial], name: str) -> bool:
    return len({str(t.recipe.get(name)) for t in trials}) > 1


def _mattered(study: Study) -> str:
    found = numbers.effects(study)
    if not found:
        return ""
    rows = [
        [effect.name if i == 0 else "", group.value, group.trials, group.best, group.middle]
        for effect in found
        for i, group in enumerate(effect.groups)
    ]
    text = (
        f"Scores by hyperparameter, widest apart first, over {len(numbers.ranking(study))} scored trials. These are "
        "associations: the sampler favours what went well, and trials differ in more than one thing."
    )
    return f"## What mattered\n\n{text}\n\n" + markdown(["", "value", "trials", "best", "median"], rows)


def _ended(study: Study) -> str:
    rows = list(_endings(study.trained))
    return "## Ended early\n\n" + markdown(["trial", "state", "epochs", "score", "why"], rows) if rows else ""


def _endings(trials: Sequence[Trial]) -> Iterator[Sequence[object]]:
    """A row for each trial that did not run to its end; followers in a batch that were pruned share one."""
    batches: dict[int | None, list[Trial]] = {}
    for t in trials:
        if t.follows and t.state == "pruned":
            batches.setdefault(t.batch, []).append(t)
    for t in trials:
        if t.follows and t.state == "pruned":
            same = batches[t.batch]
            if t is same[0]:
                scores = sorted(other.value for other in same if other.value is not None)
                span = f"{cell(scores[0])} to {cell(scores[-1])}" if scores else None
                yield (
                    f"{len(same)} with {t.batch}",
                    "pruned",
                    max(map(numbers.epochs, same)),
                    span,
                    "beaten in their batch, or by others",
                )
            continue
        why = f"{t.failure.kind}: {t.failure.reason}" if t.failure else t.reason
        if t.state != "complete" or why:
            yield t.number, t.state, numbers.epochs(t), t.value, why


def _time(study: Study) -> str:
    by_state = numbers.seconds_by_state(study)
    rows = [[state, duration(seconds)] for state, seconds in by_state.items()]
    looks = sum(trial.seconds for trial in study.screened)
    rows += [["looks at candidates", duration(looks)]] if study.screened else []
    rest = study.spent - sum(by_state.values()) - looks
    rows += [["all else (looking at the data, choosing, saving)", duration(rest)], ["together", duration(study.spent)]]
    return "## Time\n\n" + markdown(["trials", "wall time"], rows)


def _next(study: Study) -> str:
    if study.best is None:
        return ""
    steps = "\n".join(f"- `{command}`: {what}" for command, what in next_steps(study))
    return "\n\n".join(
        [
            "## Again",
            "The winner's recipe, trained in a study of its own:",
            f"```\n{reproduce(study, study.best.trial)}\n```",
            "## Next",
            steps,
        ]
    )
