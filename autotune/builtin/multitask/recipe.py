"""The hyperparameters of ``multitask``: those of a fine-tuning, and how the tasks are weighed against each other."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from autotune import Choice, Facts, Float, Recipe


class MultitaskRecipe(Recipe):
    """How one backbone is fine-tuned on several tasks."""

    backbone: Annotated[str, Choice(registry="backbones")] = Field(description="The pretrained network.")
    weighting: Annotated[Literal["fixed", "uncertainty"], Choice()] = Field(
        "fixed",
        description="Weights of the tasks' losses: fixed by task_weight, or learned from each task's uncertainty.",
    )
    task_weight: Annotated[float, Float(0.25, 4.0, log=True)] = Field(
        1.0, gt=0, description="What the first task's loss counts against each other task's, where weights are fixed."
    )
    balance: Annotated[float, Float(0.0, 1.0)] = Field(
        0.5,
        ge=0,
        le=1,
        description="Exponent on the tasks' sizes for their shares of each batch: 1 gives in proportion, 0 all alike, "
        "as far as they have images.",
    )
    unfreeze_share: Annotated[float, Float(0.0, 1.0)] = Field(
        0.35, ge=0, le=1, description="Share of the backbone's blocks to train, from the top; 0 trains the heads only."
    )
    unfreeze: int | None = Field(
        None, ge=0, description="Number of blocks to train; overrides the share, and is recorded for every trial."
    )
    lr: Annotated[float, Float(3e-4, 3e-2, log=True)] = Field(
        3e-3, gt=0, description="Peak learning rate of the heads, and of learned weights."
    )
    lr_blocks: Annotated[float, Float(3e-5, 1e-2, log=True)] = Field(
        5e-4, gt=0, description="Peak learning rate of the topmost trained block."
    )
    layer_decay: Annotated[float, Float(0.5, 1.0)] = Field(
        0.8, gt=0, le=1, description="Factor on the learning rate from each block to the one below it."
    )
    opt: Annotated[Literal["adamw", "sgd"], Choice()] = Field("adamw", description="Optimizer.")
    momentum: Annotated[float, Float(0.8, 0.99)] = Field(
        0.9, ge=0, lt=1, description="SGD's momentum (Nesterov), AdamW's beta1."
    )
    weight_decay: Annotated[float, Float(1e-5, 0.1, log=True)] = Field(
        0.01, ge=0, description="Weight decay; never on biases and norms. Decoupled for AdamW, L2 for SGD."
    )
    drop: Annotated[float, Float(0.0, 0.5)] = Field(0.1, ge=0, lt=1, description="Dropout before the heads.")
    smoothing: Annotated[float, Float(0.0, 0.2)] = Field(
        0.05, ge=0, lt=1, description="Label smoothing, over the classes of an image's own task."
    )
    augment: Annotated[str, Choice(registry="augmentations")] = Field(
        "none", description="Augmentation policy. The heads' own phase sees unaugmented images."
    )
    batch_size: int = Field(
        64, ge=1, description="Images a step at most, of all tasks together; each has one at least."
    )
    img_size: int | None = Field(
        None, ge=8, description="Side of the network's input in pixels; the backbone's own by default."
    )
    bn: Annotated[Literal["frozen", "batch"], Choice()] = Field(
        "frozen", description="BatchNorm in trained blocks: the pretraining's statistics, or each batch's own."
    )
    warmup_epochs: float = Field(0.5, ge=0, description="Epochs in which the rates rise linearly; constant after.")
    head_epochs: int = Field(
        20, ge=0, description="Epochs for the heads on frozen features, before anything is unfrozen."
    )
    ema_epochs: float = Field(
        0.5, ge=0, description="How many epochs the averaged weights look back; 0 takes the weights as they are."
    )

    def resolve(self, backbone: Facts | None) -> Self:
        """Fills in the number of blocks and the image size of this backbone."""
        if backbone is None:
            return self
        wanted = round(self.unfreeze_share * backbone.blocks) if self.unfreeze is None else self.unfreeze
        return self.model_copy(
            update={
                "unfreeze": min(wanted, backbone.blocks),
                "img_size": self.img_size or backbone.input_size,
            }
        )
