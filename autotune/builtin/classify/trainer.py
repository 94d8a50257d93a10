"""Fine-tuning, from the head down."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from autotune import (
    Checkpoint,
    Data,
    Epoch,
    Model,
    PluginError,
    Preprocess,
    RateCurve,
    Run,
    Screening,
    Task,
    Trainer,
)
from autotune.builtin.classify.finding import find_lr
from autotune.builtin.classify.fitting import Fitting
from autotune.builtin.classify.head import HeadPhase
from autotune.builtin.classify.many import fit_many
from autotune.builtin.classify.pacing import pace
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.builtin.classify.screening import screen
from autotune.vision import TorchModel, averaged, memory_named

MEMORY = "use a smaller img_size, or fewer candidates"


class ClassifyTrainer(Trainer[ClassifyRecipe]):
    """Fits the head on frozen features, then unfreezes what the recipe says and trains it together.

    Kumar et al. 2022 (arXiv:2202.10054): a head that fits first does not distort the pretrained features.
    """

    def fit(self, recipe: ClassifyRecipe, data: Data, run: Run) -> Generator[Epoch, None, None]:
        """Trains one recipe; see `autotune.Trainer.fit`."""
        with memory_named(run.device, MEMORY):
            yield from self._fit(recipe, data.task, run)

    def fit_many(
        self, recipes: Sequence[ClassifyRecipe], data: Data, runs: Sequence[Run]
    ) -> Generator[Mapping[int, Epoch], None, None]:
        """Trains recipes that leave everything but the head frozen; see `autotune.Trainer.fit_many`."""
        with memory_named(runs[0].device, MEMORY):
            yield from fit_many(recipes, data, runs, alone=self.fit)

    def _fit(self, recipe: ClassifyRecipe, task: Task, run: Run) -> Generator[Epoch, None, None]:
        fitting = Fitting(recipe, task, run)
        head = HeadPhase(fitting)
        if head.suffices:
            yield from head.epochs()
            return
        if run.resume is None and recipe.head_epochs:
            head.warm()
        if fitting.asking.reason is None:
            yield from fitting.epochs()

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> Model:
        """The model of a checkpoint: the averaged weights on top of the backbone's own."""
        facts = checkpoint.facts
        backbone = checkpoint.backbone
        if backbone is None:
            raise PluginError("classify: the checkpoint was opened without its backbone")
        preprocess = Preprocess.from_facts(facts["preprocess"])
        complete = bool(facts.get("complete"))
        module = backbone.build(len(facts["classes"]), img_size=preprocess.img_size, load=not complete)
        tensors = checkpoint.tensors("torch")
        module.load_state_dict(tensors if complete else averaged(tensors), strict=complete)
        return TorchModel(
            module,
            classes=facts["classes"],
            preprocess=preprocess,
            device=device,
            temperature=float(facts.get("temperature", 1.0)),
            facts={k: v for k, v in facts.items() if k not in ("sha256", "facts_sha256", "format")},
        )

    def pace(self, recipe: ClassifyRecipe, data: Data, run: Run) -> float:
        """Seconds for one epoch of a recipe, validation included; measured once on a machine, then remembered."""
        return pace(recipe, data.task, run)

    def screen(self, recipe: ClassifyRecipe, data: Data, run: Run) -> Screening | None:
        """Nearest neighbours and a linear probe on what the backbone says of some images, as it is."""
        with memory_named(run.device, MEMORY):
            return screen(recipe, data.task, run)

    def find_lr(self, recipe: ClassifyRecipe, data: Data, run: Run) -> RateCurve:
        """A learning-rate range test; see `autotune.Trainer.find_lr`."""
        with memory_named(run.device, MEMORY):
            return find_lr(recipe, data.task, run)
