"""Linear heads on features brought to a like scale, which are linear heads on the features as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch

from autotune.vision.vectors import standard

if TYPE_CHECKING:
    from autotune.vision.manyheads import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What brings features to a like scale, and weights from there to the features as they are and back.

    One learning rate, one decay and one dropout then mean the same on the features of every backbone.

    Attributes:
        mean: float32 [D]; zeros for heads without a bias, which could not make up for it.
        scale: float32 [D], positive.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def of(cls, vectors: torch.Tensor | Rows, *, bias: bool = True) -> Self:
        """By the moments of training images; see `autotune.vision.standard`.

        Args:
            vectors: float32 [N, D], N of 1 or more, or what gives its rows.
            bias: Whether the heads that read them have a bias.
        """
        mean, scale = standard(vectors)
        return cls(mean=mean if bias else torch.zeros_like(mean), scale=scale)

    def applied(self, vectors: torch.Tensor | Rows) -> torch.Tensor | Rows:
        """Vectors brought to scale: a tensor at once, rows as they are read."""
        if isinstance(vectors, torch.Tensor):
            return torch.sub(vectors, self.mean).div_(self.scale)
        return _ScaledRows(vectors, self)

    def folded(self, weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A head of scaled features as the head of unchanged ones that gives the same logits.

        Args:
            weight: float32 [C, D].
            bias: float32 [C], or None.
        """
        plain = weight / self.scale
        return plain, None if bias is None else bias - plain @ self.mean

    def unfolded(self, weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The inverse of `folded`, to rounding."""
        return weight * self.scale, None if bias is None else bias + weight @ self.mean


class _ScaledRows:
    """Rows brought to scale when they are read."""

    def __init__(self, rows: Rows, scaling: Scaling) -> None:
        self._rows, self._scaling = rows, scaling

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, indices: torch.Tensor) -> torch.Tensor:
        """See `autotune.vision.Rows.rows`."""
        return torch.sub(self._rows.rows(indices), self._scaling.mean).div_(self._scaling.scale)
