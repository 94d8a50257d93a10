"""Feature transfer: a frozen backbone, and a small head on what it says of each image."""

from __future__ import annotations

from collections.abc import Generator

from autotune import Checkpoint, Data, Epoch, Model, PluginError, Preprocess, Run, Trainer
from autotune.builtin.probe.fitting import Fitting, take_over
from autotune.builtin.probe.form import Form
from autotune.builtin.probe.frozen import Frozen
from autotune.builtin.probe.heads import build_finished, build_head
from autotune.builtin.probe.recipe import ProbeRecipe
from autotune.vision import TorchModel, averaged, memory_named

MEMORY = "use a smaller img_size, fewer candidates, or a head other than knn, which keeps all vectors"


class ProbeTrainer(Trainer[ProbeRecipe]):
    """Computes the vector beneath the backbone's head once for every image, then fits a head to these vectors.

    The heads linear, mlp and cosine are trained. For knn and prototype there is nothing to train: their first epoch
    is their last, told again for the others, so that trials of all kinds compare at every epoch.
    """

    def fit(self, recipe: ProbeRecipe, data: Data, run: Run) -> Generator[Epoch, None, None]:
        """Fits one recipe's head; see `autotune.Trainer.fit`."""
        with memory_named(run.device, MEMORY):
            frozen = Frozen(recipe, data.task, run)
            train = frozen.vectors(frozen.train)
            val = None if train is None else frozen.vectors(frozen.val)
            if train is not None and val is not None:
                yield from Fitting(recipe, frozen, train, val).epochs()

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> Model:
        """The model of a checkpoint: the backbone's own weights, and the head in the place of its own."""
        facts, backbone = checkpoint.facts, checkpoint.backbone
        if backbone is None:
            raise PluginError("probe: the checkpoint was opened without its backbone")
        preprocess, form = Preprocess.from_facts(facts["preprocess"]), Form.from_facts(facts)
        complete = bool(facts.get("complete"))
        module = backbone.build(form.classes, img_size=preprocess.img_size, load=not complete)
        name, tensors = backbone.head(module)[0], checkpoint.tensors("torch")
        if complete:
            module.set_submodule(name, build_finished(form))
            module.load_state_dict(tensors)
        else:
            tensors = averaged(tensors)
            head = build_head(form)
            take_over(head, tensors, name)
            beneath = {n: t for n, t in tensors.items() if not n.startswith(f"{name}.")}
            module.load_state_dict(beneath, strict=False)
            module.set_submodule(name, head.finished())
        return TorchModel(
            module,
            classes=facts["classes"],
            preprocess=preprocess,
            device=device,
            temperature=float(facts.get("temperature", 1.0)),
            facts={k: v for k, v in facts.items() if k not in ("sha256", "facts_sha256", "format")},
        )
