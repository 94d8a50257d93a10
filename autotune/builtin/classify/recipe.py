"""The hyperparameters of ``classify``, named after timm's training flags where those have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from autotune import Choice, Facts, Float, Recipe
from autotune.vision import Openings, at_most, check_openings


class ClassifyRecipe(Recipe):
    """How one backbone is fine-tuned."""

    backbone: Annotated[str, Choice(registry="backbones")] = Field(description="The pretrained network.")
    unfreeze_share: Annotated[float, Float(0.0, 1.0)] = Field(
        0.35,
        ge=0,
        le=1,
        description="Share of the backbone's blocks to train, from the top unless unfreeze_where says otherwise; 0 "
        "trains the head only.",
    )
    unfreeze: int | None = Field(
        None, ge=0, description="Number of blocks to train; overrides the share, and is recorded for every trial."
    )
    unfreeze_where: Literal["top", "middle", "bottom"] = Field(
        "top",
        description="Which blocks are trained: the topmost, those in the middle, or the lowest. What lies beneath the "
        "lowest trained block is computed once; beneath those at the bottom there is nothing.",
    )
    unfreeze_schedule: str = Field(
        "",
        description="Which epoch opens how many of the blocks, from the topmost down: empty opens all at once, gradual "
        "one more with each epoch, 0:1,2:3,4:8 names epochs and how many blocks are trained from each on. No pair may "
        "say more than unfreeze; to what unfreeze_share comes to, the pairs are cut.",
    )
    lr: Annotated[float, Float(3e-4, 3e-2, log=True)] = Field(3e-3, gt=0, description="Peak learning rate of the head.")
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
    l1: float = Field(
        0.0,
        ge=0,
        description="L1 penalty on the trained weights, not on biases and norms: after each step they move towards "
        "zero by this times the rate, and those that are nearer become zero (so do averages, with ema_epochs=0). 0 is "
        "off.",
    )
    l2_sp: float = Field(
        0.0,
        ge=0,
        description="L2 penalty on the way from the pretrained weights (L2-SP), for few images: the trained blocks are "
        "pulled to where they started, in the place of their weight decay; the head keeps its own. 0 is off.",
    )
    drop: Annotated[float, Float(0.0, 0.5)] = Field(0.1, ge=0, lt=1, description="Dropout before the head.")
    drop_path: Annotated[float, Float(0.0, 0.3)] = Field(
        0.0, ge=0, lt=1, description="Stochastic depth, where the architecture has it."
    )
    smoothing: Annotated[float, Float(0.0, 0.2)] = Field(0.05, ge=0, lt=1, description="Label smoothing.")
    imbalance: Annotated[Literal["none", "weights", "sampling", "logits"], Choice()] = Field(
        "none",
        description="What makes up for classes of unequal size: the loss of an image counts the more the fewer its "
        "class has; images of small classes are drawn more often; or the classes' log frequencies are added to the "
        "logits in training (logit adjustment). Searched only where one class has twice the images of another.",
    )
    imbalance_power: float = Field(
        1.0,
        ge=0,
        le=3,
        description="Strength of imbalance: 1 makes the classes count alike, 0 leaves them as they are.",
    )
    augment: Annotated[str, Choice(registry="augmentations")] = Field(
        "none", description="Augmentation policy. The head's own phase sees unaugmented images."
    )
    views: Annotated[int, Choice((0, 1, 4))] = Field(
        0,
        ge=0,
        description="Draws of the policy for each image, taken in turn, epoch by epoch; 0 draws afresh every epoch. "
        "Fixed views let the frozen part's activations be kept.",
    )
    mixup: Annotated[float, Choice((0.0, 0.2))] = Field(0.0, ge=0, description="Mixup's alpha; 0 is off.")
    cutmix: Annotated[float, Choice((0.0, 1.0))] = Field(
        0.0, ge=0, description="CutMix's alpha; 0 is off. Searched from a thousand images on."
    )
    brightness: float = Field(
        0.0, ge=0, le=1, description="Each sample is shifted by up to this share of its own range; 0 is off."
    )
    mix_at: Literal["input", "boundary"] = Field(
        "boundary",
        description="Where mixup, cutmix and brightness apply: the network's input, or the boundary between its frozen "
        "and its trained part. At the input, activations cannot be kept.",
    )
    cache_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="How activations at the boundary are kept, and so trained from; bfloat16 halves them."
    )
    batch_size: int = Field(64, ge=1, description="Images a step.")
    micro_batch: int | None = Field(
        None, ge=1, description="Images whose gradients are computed at once and added up; halved when memory runs out."
    )
    compile: Literal["auto", "never", "always"] = Field(
        "auto", description="torch.compile: auto does so on a GPU when ten minutes or more of training are left."
    )
    cuda_graphs: Literal["auto", "never"] = Field(
        "auto",
        description="Training steps as CUDA graphs: auto captures them on a GPU where that can be done, for networks "
        "so small that it waits for Python; the training is the same.",
    )
    img_size: int | None = Field(
        None, ge=8, description="Side of the network's input in pixels; the backbone's own by default."
    )
    bn: Annotated[Literal["frozen", "batch"], Choice()] = Field(
        "frozen", description="BatchNorm in trained blocks: the pretraining's statistics, or each batch's own."
    )
    warmup_epochs: float = Field(0.5, ge=0, description="Epochs in which the rates rise, step by step.")
    sched: Literal["constant", "cosine", "onecycle", "step"] = Field(
        "constant",
        description="What the rates do after the warm-up: stay, for which averaged weights make up; fall along half a "
        "cosine; rise and fall once (no warm-up); fall every decay_epochs. Cosine and onecycle are tied to the length "
        "of the training: early epochs of long and short trials do not compare. The head's own phase stays constant.",
    )
    decay_epochs: float = Field(7.0, gt=0, description="Epochs between two falls of sched=step.")
    decay_rate: float = Field(0.1, gt=0, le=1, description="Factor of each fall of sched=step.")
    patience: int | None = Field(
        None,
        ge=1,
        description="Epochs without a lower validation log_loss after which a trial ends by itself and is complete; "
        "counted from the last opening of unfreeze_schedule. Unset, it runs to its end unless it is pruned.",
    )
    head_epochs: int = Field(
        20,
        ge=0,
        description="Epochs for the head by itself, from zeros, on frozen features brought to a like scale, before "
        "anything is unfrozen.",
    )
    ema_epochs: float = Field(
        0.5, ge=0, description="How many epochs the averaged weights look back; 0 takes the weights as they are."
    )
    keep_head: bool = Field(
        False, description="Start from the head that comes with the weights, for the classes that it knows."
    )

    @field_validator("unfreeze_schedule")
    @classmethod
    def _rises(cls, value: str) -> str:
        check_openings(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _opens_what_there_is(cls, values: Any) -> Any:
        """Before the fields, so that a study's file is told too while its backbone is not known yet."""
        if isinstance(values, Mapping):
            text, unfreeze = values.get("unfreeze_schedule"), values.get("unfreeze")
            if isinstance(text, str) and type(unfreeze) is int:
                try:
                    Openings.of(text, unfreeze)
                except ValueError as error:
                    raise ValueError(f"unfreeze_schedule = {text!r}: {error}") from error
        return values

    def resolve(self, backbone: Facts | None) -> Self:
        """Fills in the number of blocks and the image size of this backbone, and cuts the schedule to them."""
        if backbone is None:
            return self
        wanted = round(self.unfreeze_share * backbone.blocks) if self.unfreeze is None else self.unfreeze
        unfreeze = min(wanted, backbone.blocks)
        return self.model_copy(
            update={
                "unfreeze": unfreeze,
                "unfreeze_schedule": at_most(self.unfreeze_schedule, unfreeze),
                "img_size": self.img_size or backbone.input_size,
            }
        )
