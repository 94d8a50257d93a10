"""What a meta-training is told, with defaults for each method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, TypeAlias

from autotune import UnknownName, UsageError

Method: TypeAlias = Literal["anil", "reptile"]

PRESETS: Mapping[str, Mapping[str, float]] = {
    "anil": {"steps": 1500, "tasks": 16, "inner_steps": 10, "inner_lr": 2.0, "outer_lr": 3e-4},
    "reptile": {"steps": 300, "tasks": 4, "inner_steps": 8, "inner_lr": 5e-4, "outer_lr": 1.0},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One meta-training.

    Attributes:
        method: ``reptile`` (Nichol et al. 2018, arXiv:1803.02999) or ``anil`` (Raghu et al. 2019, arXiv:1909.09157).
        steps: Outer steps.
        tasks: Tasks of an outer step.
        inner_steps: Steps that adapt to one task.
        inner_lr: Rate of these steps: plain descent on vectors of mean square length 1 for ANIL, Adam's for Reptile.
        outer_lr: Adam's rate for ANIL; for Reptile the share of the way to the adapted weights, at most 1, which
            falls linearly to 0.
        ways: Classes of a task.
        shots: Images of each class that a task is adapted to.
        queries: Further images of each class. ANIL's outer step learns from them, Reptile's inner steps too.
        width: Length of ANIL's projected vectors.
        unfreeze: Blocks, counted from the top, that Reptile adapts beside the head.
        seed: Everything random derives from it.

    Raises:
        UsageError: A value is out of range.
    """

    method: Method
    steps: int
    tasks: int
    inner_steps: int
    inner_lr: float
    outer_lr: float
    ways: int = 5
    shots: int = 5
    queries: int = 10
    width: int = 256
    unfreeze: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        lowest = {"ways": 2, "shots": 1, "queries": 1, "steps": 0, "tasks": 1, "inner_steps": 1, "width": 1}
        lowest |= {"unfreeze": 0, "seed": 0}
        problems = [
            f"{n} is {getattr(self, n)}: must be {low} or more" for n, low in lowest.items() if self._under(n, low)
        ]
        problems += [f"{n} is {getattr(self, n)}: must be above 0" for n in ("inner_lr", "outer_lr") if self._idle(n)]
        if self.method == "reptile" and self.outer_lr > 1:
            problems.append(f"outer_lr is {self.outer_lr}: Reptile goes a share of the way, at most 1")
        if problems:
            raise UsageError("\n".join(problems))

    @classmethod
    def of(cls, method: str, **given: Any) -> Self:
        """The method's defaults with what is given, None left out, put over them.

        Raises:
            UnknownName: There is no such method, or no such setting.
            UsageError: A value is out of range.
        """
        if method not in PRESETS:
            raise UnknownName("method of meta-learning", method, PRESETS)
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise UnknownName("setting of meta-learning", name, known)
        wishes: dict[str, Any] = {n: v for n, v in given.items() if v is not None}
        return cls(method=method, **{**PRESETS[method], **wishes})  # type: ignore[arg-type]

    def _under(self, name: str, lowest: int) -> bool:
        return int(getattr(self, name)) < lowest

    def _idle(self, name: str) -> bool:
        return not float(getattr(self, name)) > 0
