"""The hyperparameters: what has a range is searched, what has none can be set by ``fixed.NAME=value``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from autotune import Float, Int, Recipe


class ExampleRecipe(Recipe):
    """How the means move."""

    lr: Annotated[float, Float(1e-3, 1.0, log=True)] = Field(
        0.1, gt=0, le=1, description="How far a mean moves towards each batch; 1 jumps there."
    )
    batch_size: Annotated[int, Int(8, 128, log=True)] = Field(32, ge=1, description="Images a step.")
    img_size: int = Field(8, ge=1, description="Side in pixels to which images are resized.")
