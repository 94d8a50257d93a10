"""What a report says of the best model after its training, and of a study's teacher."""

from __future__ import annotations

import json
from collections.abc import Sequence

from autotune.after.distillation import FILE
from autotune.reporting.tables import cell, markdown
from autotune.study import Study

INTRODUCTION = (
    "Each step is kept only if it makes the model better on images that trained no trial; what is fitted to them is "
    "judged on the part that it was not fitted to."
)


def after_training(study: Study) -> str:
    """The steps after training, those that were left out too, with their figures."""
    if study.best is None or not study.best.after_training:
        return ""
    rows = [
        [
            step["step"],
            step["what"],
            step["metric"],
            step["before"],
            step["after"],
            f"{step['images']} of {step['side']}" if step["images"] else None,
            step["kept"],
        ]
        for step in study.best.after_training
    ]
    head = ["step", "what", "metric", "before", "after", "images", "kept"]
    return f"## After training\n\n{INTRODUCTION}\n\n" + markdown(head, rows)


def teacher(study: Study) -> str:
    """The best model beside its teacher, on the same images; nothing where the study has none."""
    path = (study.path / FILE).with_suffix(".json")
    if study.best is None or not path.is_file():
        return ""
    facts = json.loads(path.read_text())
    metric, side = study.objective.main.metric, facts["side"]
    own = study.best.select if side == "select" else study.best.metrics
    rows = [
        ["the teacher's best model", facts["best"].get(metric)],
        [_asked(facts["trials"]), facts["scores"].get(metric)],
        ["the best model here, which learnt from that", own.get(metric)],
    ]
    text = f"`{facts['teacher']}` taught this study: {facts['reason'].partition(': ')[2]}."
    return f"## Teacher\n\n{text}\n\n" + markdown(["model", f"{metric} on {cell(facts['images'])} {side} images"], rows)


def _asked(trials: Sequence[int]) -> str:
    """The teacher's trials that were asked, whose opinions are learnt."""
    if len(trials) == 1:
        return f"the teacher's trial {trials[0]}, which was asked"
    return f"{len(trials)} of the teacher's trials together, which were asked"
