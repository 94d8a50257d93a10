"""The hyperparameters of ``toy``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from autotune import Choice, Float, Int, Recipe


class ToyRecipe(Recipe):
    """How a softmax regression is trained. What bears no range is not searched, but can be set."""

    lr: Annotated[float, Float(1e-3, 10.0, log=True)] = Field(0.3, gt=0, description="Learning rate, constant.")
    opt: Annotated[Literal["sgd", "nesterov"], Choice()] = Field("nesterov", description="Kind of momentum.")
    momentum: Annotated[float, Float(0.0, 0.98)] = Field(0.9, ge=0, lt=1, description="Momentum.")
    weight_decay: Annotated[float, Float(1e-6, 1e-1, log=True)] = Field(
        1e-4, ge=0, description="L2 penalty; not on the bias."
    )
    batch_size: Annotated[int, Int(16, 256, log=True)] = Field(32, ge=1, description="Images a step.")
    size: int = Field(8, ge=1, le=64, description="Side, in pixels, of the squares that images are averaged to.")
    sleep: float = Field(0.0, ge=0, description="Seconds to wait in every epoch, for watching a search at work.")
    together: int = Field(1, ge=1, le=8, description="Recipes trained together; they share batch_size and size.")
