"""A linear probe: logistic regression on features, fitted at once."""

from __future__ import annotations

import torch
from torch.nn import functional

from autotune.errors import Diverged
from autotune.vision.vectors import standard

HISTORY = 10
"""Steps that L-BFGS looks back."""


def fit_linear(
    train: torch.Tensor,
    labels: torch.Tensor,
    *,
    classes: int,
    l2: float,
    iterations: int = 100,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Multinomial logistic regression by L-BFGS (Liu and Nocedal 1989), on features brought to a like scale.

    What is minimised is the mean cross-entropy plus l2 / 2 times the sum of the squared weights on the standardised
    features, see `autotune.vision.standard`; the biases are free. On those, that is scikit-learn's
    ``LogisticRegression(C=1 / (l2 * N))``, for three classes or more. The standardisation is folded into what is
    returned: the logits of unchanged features are ``features @ weight.T + bias``.

    Args:
        train: Features, floating point [N, D].
        labels: Their classes, int64 [N], on the same device.
        classes: How many classes there are, C.
        l2: Strength of the penalty, 0 or more.
        iterations: L-BFGS stops after so many, if it has not converged before.

    Returns:
        The weight, float32 [C, D], and the bias, float32 [C], on the device of the features.

    Raises:
        ValueError: There are no features to learn from.
        Diverged: The features, or what was fitted to them, are not finite.
    """
    if len(train) == 0:
        raise ValueError("a linear probe needs features to learn from, and there are none")
    mean, scale = standard(train)
    features = (train.detach().float() - mean) / scale
    if not bool(torch.isfinite(features).all()):
        # L-BFGS would fail at the first step on them, with an error that does not say so.
        raise Diverged(
            f"some of {len(train):,} features for logistic regression are not finite",
            hint="leave the backbone out of backbones, or use another img_size",
        )
    weight = torch.zeros(classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(classes, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = functional.linear(features, weight, bias)
        value = functional.cross_entropy(logits, labels) + l2 / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    folded = weight.detach() / scale
    shifted = bias.detach() - folded @ mean
    if not bool(torch.isfinite(folded).all() & torch.isfinite(shifted).all()):
        raise Diverged(
            f"logistic regression on {len(train):,} features gave weights that are not finite",
            hint="use a larger weight_decay, or another backbone or img_size",
        )
    return folded, shifted
