"""The hyperparameters of ``probe``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from autotune import Choice, Facts, Float, Int, Recipe

HEADS = ("linear", "cosine", "prototype", "knn", "mlp")
"""The kinds of heads in the order in which they are tried; the first is tried on every candidate."""


class ProbeRecipe(Recipe):
    """Which head reads the features of which backbone, and how it is fitted.

    Every field has a value for every head; each head reads those that its description names.
    """

    backbone: Annotated[str, Choice(registry="backbones")] = Field(description="The pretrained network; stays frozen.")
    head: Annotated[Literal["linear", "mlp", "cosine", "knn", "prototype"], Choice()] = Field(
        "linear",
        description="What reads the features: linear (softmax regression), mlp (one hidden layer), cosine (angles to a "
        "learned vector for each class), knn (votes of the nearest training images), prototype (nearest class mean).",
    )
    lr: Annotated[float, Float(1e-4, 1e-2, log=True)] = Field(
        1e-3, gt=0, description="Learning rate of AdamW (linear, mlp, cosine)."
    )
    weight_decay: Annotated[float, Float(1e-5, 1.0, log=True)] = Field(
        0.01, ge=0, description="Decoupled weight decay, never on biases (linear, mlp, cosine)."
    )
    drop: Annotated[float, Float(0.0, 0.5)] = Field(
        0.1, ge=0, lt=1, description="Dropout of features (linear, cosine) or of hidden units (mlp)."
    )
    smoothing: Annotated[float, Float(0.0, 0.2)] = Field(
        0.05, ge=0, lt=1, description="Label smoothing (linear, mlp, cosine), of the votes too (knn)."
    )
    hidden: Annotated[int, Int(64, 1024, log=True)] = Field(256, ge=1, description="Hidden units (mlp).")
    k: Annotated[int, Int(1, 50, log=True)] = Field(10, ge=1, description="Training images that vote (knn).")
    temperature: Annotated[float, Float(0.02, 0.5, log=True)] = Field(
        0.07, gt=0, description="Divides similarities before they are compared (knn, prototype): small ones are sharp."
    )
    distance: Annotated[Literal["cosine", "euclidean"], Choice()] = Field(
        "cosine", description="By what class means are near (prototype): the angle, or the squared Euclidean distance."
    )
    batch_size: int = Field(64, ge=1, description="Images a step (linear, mlp, cosine).")
    passes: int = Field(10, ge=1, description="How often an epoch goes through the features (linear, mlp, cosine).")
    warmup_epochs: float = Field(0.25, ge=0, description="Epochs in which the rate rises linearly; constant after.")
    ema_epochs: float = Field(
        0.5, ge=0, description="How many epochs the averaged weights look back; 0 takes the weights as they are."
    )
    img_size: int | None = Field(
        None, ge=8, description="Side of the network's input in pixels; the backbone's own by default."
    )

    def resolve(self, backbone: Facts | None) -> Self:
        """Fills in the image size of this backbone."""
        if backbone is None:
            return self
        return self.model_copy(update={"img_size": self.img_size or backbone.input_size})
