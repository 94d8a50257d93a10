"""The model that a study hands back: the folder ``best/``, which always is whole.

``model.safetensors`` and ``model.json`` are an ordinary checkpoint; ``trained_on.txt`` holds the hashes of the
images that the model has seen, so that later studies can refuse to be judged on them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.after.choosing import Chosen, choose
from autotune.after.distillation import taught_on
from autotune.after.finalists import Finalist, finalists
from autotune.after.gate import sentence
from autotune.after.steps import take_steps
from autotune.checkpoint import read_checkpoint, write_atomically, write_checkpoint
from autotune.durations import format_epochs
from autotune.errors import CheckpointError, StudyError
from autotune.study import Best, Study

if TYPE_CHECKING:
    from autotune.data import Task
    from autotune.plan import Plan

HOST_FACTS = ("trainer", "recipe", "backbone", "weights", "classes", "trial", "epochs_done", "autotune")


def finish(plan: Plan, study: Study, *, deadline: float | None = None, score: bool = True) -> bool:
    """Makes ``best/`` the best model of the trials so far; does nothing where it is already.

    Interrupted at any point, it leaves the old ``best/`` or the new one, and the next call completes it.

    Args:
        plan: The study's plan.
        study: The study as it stands.
        deadline: When to stop scoring finalists and improving the chosen one, on the clock of ``time.monotonic``.
        score: Whether to score finalists on held-out images, and to improve the one that is chosen; False hands over
            the leader at once, for a search that was interrupted, and the next call chooses again.

    Returns:
        Whether ``best/`` was written. It is not there afterwards only if no trial has a readable checkpoint.
    """
    folder = study.path / "best"
    _recover(folder)
    candidates = finalists(study)
    if not candidates or _settled(folder, candidates, score):
        return False
    chosen = choose(plan, candidates, deadline=deadline, score=score)
    if chosen is None:
        return False
    if score:
        chosen = take_steps(plan, chosen, candidates, deadline=deadline)
    _write(plan, study, chosen, candidates, settled=score)
    return True


def best(study: Study) -> Best:
    """The study's best model.

    Raises:
        StudyError: There is none yet.
    """
    if study.best is None:
        raise StudyError(
            f"{study.path}: there is no best model yet ({len(study.trials)} trials)",
            hint=f"let the search go on: autotune search {study.path}",
        )
    return study.best


def _settled(folder: Path, candidates: tuple[Finalist, ...], score: bool) -> bool:
    try:
        facts = read_checkpoint(folder / "model.safetensors").facts
    except CheckpointError:
        return False
    same = facts.get("chosen_from") == [f.mark for f in candidates]
    return same and (folder / "model.safetensors").is_file() and bool(facts.get("settled") or not score)


def _write(plan: Plan, study: Study, chosen: Chosen, candidates: tuple[Finalist, ...], *, settled: bool) -> None:
    folder, new, old = (study.path / name for name in ("best", "best.new", "best.old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    tensors, facts = chosen.model.state()
    point = chosen.finalist.point
    host: dict[str, Any] = {k: chosen.checkpoint.facts[k] for k in HOST_FACTS if k in chosen.checkpoint.facts}
    facts = {
        **host,
        **facts,
        "complete": True,
        "temperature": float(chosen.model.temperature),
        **_origin(chosen),
        "study": study.name,
        "trial": chosen.finalist.trial.number,
        "epochs_done": point.at,
        "at": point.at,
        "metrics": {**point.metrics, **chosen.metrics},
        "select": dict(chosen.select),
        "pooled": dict(chosen.pooled),
        "scored": chosen.scored,
        "after_training": [step.to_facts() for step in chosen.steps],
        "chosen_from": [f.mark for f in candidates],
        "settled": settled,
    }
    write_checkpoint(new / "model.safetensors", tensors, facts)
    write_atomically(new / "trained_on.txt", "".join(f"{i}\n" for i in sorted(_seen(plan, chosen))).encode())
    write_atomically(new / "README.md", _readme(plan, study, chosen).encode())
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _origin(chosen: Chosen) -> dict[str, Any]:
    """What a copy of the folder needs to know of its backbone when the study's own backbones are gone."""
    from autotune.lookup import architecture

    backbone = chosen.checkpoint.backbone
    if backbone is None:
        return {}
    licence = backbone.weights.licence if backbone.weights is not None else None
    return {"architecture": architecture(backbone.name), "licence": licence}


def _recover(folder: Path) -> None:
    """Puts the old folder back where a crash fell between the two renames."""
    old = folder.with_name("best.old")
    if old.exists() and not folder.exists():
        old.rename(folder)


def _seen(plan: Plan, chosen: Chosen) -> set[str]:
    seen = {i for task in plan.dataset.data.tasks for i in task.train.ids}
    backbone = chosen.checkpoint.backbone
    if backbone is not None and backbone.weights is not None:
        seen |= backbone.weights.trained_on
    return seen | taught_on(plan.path)


def _readme(plan: Plan, study: Study, chosen: Chosen) -> str:
    trial, point = chosen.finalist.trial, chosen.finalist.point
    metrics = {**point.metrics, **chosen.metrics}
    tasks = plan.dataset.data.tasks
    backbone = chosen.checkpoint.backbone
    licence = backbone.weights.licence if backbone is not None and backbone.weights is not None else None
    metric = study.objective.main.metric
    lines = [
        f"# The best model of {study.name}",
        "",
        f"Trial {trial.number} after {format_epochs(point.at)}, trained by autotune's `{plan.trainer.name}`"
        + (f" from `{backbone.name}`." if backbone is not None else "."),
        *_classes(tasks),
        "",
        f"- {metric} on {sum(len(task.val) for task in tasks):,} validation images: {metrics[metric]:.4f} "
        "(optimistic: the search chose by these images)",
        *(
            f"- {of_task} on {len(task.val):,} validation images: {point.metrics[of_task]:.4f}"
            for task in tasks
            if (of_task := f"{task.name}/{metric}") in point.metrics and len(tasks) > 1
        ),
    ]
    if metric in chosen.select:
        held = sum(len(holdout.select) for holdout in plan.dataset.holdouts if holdout.select is not None)
        lines.append(f"- {metric} on {held:,} images kept for the choice among finalists: {chosen.select[metric]:.4f}")
    lines.append(f"- licence of the pretrained weights: {licence or 'not known'}")
    if chosen.steps:
        lines += ["", "After training:", "", *(f"- {sentence(step.to_facts())}" for step in chosen.steps)]
    lines += [
        "",
        "```",
        "autotune predict . IMAGES..." + (" --task NAME" if len(tasks) > 1 else ""),
        f"autotune evaluate {study.path} --unlock-test",
        "```",
        "",
        "```python",
        "import autotune",
        'model = autotune.load("best/")',
        "model.predict([image])  # uint8 [H, W, 3] -> probabilities [1, classes]",
        "```",
        "",
        "`model.json` holds classes, preprocessing and recipe; `trained_on.txt` the hashes of the images seen.",
    ]
    return "\n".join(lines) + "\n"


def _classes(tasks: Sequence[Task]) -> list[str]:
    lines = []
    for task in tasks:
        classes = f"{', '.join(task.classes[:20])}{' ...' if len(task.classes) > 20 else ''}"
        of_task = f", as the task `{task.name}`" if len(tasks) > 1 else ""
        lines.append(f"It tells {len(task.classes)} classes apart{of_task}: {classes}.")
    return lines
