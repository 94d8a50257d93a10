"""Image sizes against candidates: every size that a study may use must suit every backbone that it may use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autotune.backbone import Backbone
from autotune.errors import UsageError
from autotune.space import Choice, Int, Scalar, SearchSpace
from autotune.trainer import Recipe

SIZE = "img_size"


def check_sizes(
    backbones: Mapping[str, Backbone], recipe: type[Recipe], fixed: Mapping[str, Scalar], space: SearchSpace
) -> None:
    """Checks every image size that may occur against every candidate.

    Raises:
        UsageError: Some are refused; names backbone, size and the nearest acceptable size of each.
    """
    problems: dict[str, None] = {}
    for name, backbone in backbones.items():
        for size in sorted(_sizes(recipe, fixed, space)):
            if (problem := backbone.facts.size_problem(size)) is not None:
                nearest = backbone.facts.nearest_size(size)
                problems.setdefault(f"{problem.replace(backbone.facts.name, name)}; the nearest is {nearest}")
    if problems:
        raise UsageError("\n".join(problems), hint="set img_size=... to a size that suits all, or drop the backbone")


def _sizes(recipe: type[Recipe], fixed: Mapping[str, Scalar], space: SearchSpace) -> Iterable[int]:
    if SIZE in space:
        dimension = space[SIZE]
        if isinstance(dimension, Choice):
            return {v for v in dimension.values if type(v) is int}
        if isinstance(dimension, Int):
            return set(range(dimension.low, dimension.high + 1, dimension.step))
        return set()
    field = recipe.model_fields.get(SIZE)
    value = fixed.get(SIZE, field.default if field else None)
    return {value} if type(value) is int else set()
