"""Fine-tuning on several tasks at once."""

from __future__ import annotations

from collections.abc import Generator

from autotune import Checkpoint, Data, Epoch, Model, PluginError, Run, Trainer
from autotune.builtin.multitask.fitting import LOG_VARIANCES, Fitting
from autotune.builtin.multitask.model import task_models
from autotune.builtin.multitask.pacing import pace
from autotune.builtin.multitask.recipe import MultitaskRecipe
from autotune.vision import averaged, memory_named

MEMORY = "use a smaller img_size, or fewer candidates"


class MultitaskTrainer(Trainer[MultitaskRecipe]):
    """Fits a head for each task on frozen features, then unfreezes what the recipe says and trains it for all tasks.

    Hard parameter sharing (Caruana 1997, doi:10.1023/A:1007379606734): what the tasks have in common is learned from
    all of their images, in every step from some of each.
    """

    def fit(self, recipe: MultitaskRecipe, data: Data, run: Run) -> Generator[Epoch, None, None]:
        """Trains one recipe; see `autotune.Trainer.fit`.

        An epoch has as many steps as one pass over the images of all tasks takes; the recipe's ``balance`` says how
        often each task is walked through in it. Scores are means over the tasks, every task counting alike; each
        task's own are ``TASK/accuracy`` and so on.
        """
        with memory_named(run.device, MEMORY):
            fitting = Fitting(recipe, data, run)
            if run.resume is None and recipe.head_epochs:
                fitting.warm()
            if fitting.asking.reason is None:
                yield from fitting.epochs()

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> Model:
        """The model of a checkpoint, for its first task; `autotune.Model.task` gives those of the others."""
        facts, backbone = checkpoint.facts, checkpoint.backbone
        if backbone is None:
            raise PluginError("multitask: the checkpoint was opened without its backbone")
        tasks = facts["tasks"]
        complete = bool(facts.get("complete"))
        columns, size = sum(len(task["classes"]) for task in tasks), tasks[0]["preprocess"]["img_size"]
        module = backbone.build(columns, img_size=size, load=not complete)
        tensors = checkpoint.tensors("torch")
        state = tensors if complete else averaged(tensors)
        state.pop(LOG_VARIANCES, None)
        module.load_state_dict(state, strict=complete)
        kept = {name: fact for name, fact in facts.items() if name not in ("sha256", "facts_sha256", "format")}
        return task_models(module, tasks, device=device, facts=kept)[0]

    def pace(self, recipe: MultitaskRecipe, data: Data, run: Run) -> float:
        """Seconds for one epoch of a recipe, validation included, measured in a few batches."""
        with memory_named(run.device, MEMORY):
            return pace(Fitting(recipe, data, run))
