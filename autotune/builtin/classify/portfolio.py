"""Recipes to try first: known to be good on many tasks, from the cheapest to the dearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune import Data, Scalar
from autotune.builtin.classify.presets import IMBALANCED

PORTFOLIO: Sequence[Mapping[str, Scalar]] = (
    # The head alone on frozen features: seconds, and a score that everything else must beat.
    {"unfreeze_share": 0.0, "lr": 3e-3, "weight_decay": 0.01, "augment": "none"},
    # The topmost blocks: a few times the head's cost where activations are kept, and most of what training gains.
    {"unfreeze_share": 0.15, "lr": 1e-3, "lr_blocks": 1e-3, "layer_decay": 0.8, "augment": "none"},
    # The head, then the top half of the blocks (LP-FT; Kumar et al. 2022, arXiv:2202.10054).
    {"unfreeze_share": 0.5, "lr": 1e-3, "lr_blocks": 1e-3, "layer_decay": 0.8, "augment": "none"},
    # Everything, smaller rates below (Howard and Ruder 2018, arXiv:1801.06146).
    {"unfreeze_share": 1.0, "lr": 1e-3, "lr_blocks": 5e-4, "layer_decay": 0.9, "augment": "none"},
    # SGD with momentum and a small rate, as most published fine-tuning does.
    {
        "unfreeze_share": 0.6,
        "opt": "sgd",
        "lr": 1e-2,
        "lr_blocks": 1e-2,
        "layer_decay": 0.8,
        "weight_decay": 1e-4,
        "bn": "batch",
        "augment": "trivial",
    },
)


def suited(data: Data) -> Sequence[Mapping[str, Scalar]]:
    """The portfolio for some images: of lopsided classes the head also sees small ones more often.

    That is as cheap as the first recipe, and shows early whether a remedy is worth its place in dearer ones.
    """
    head, *others = PORTFOLIO
    lopsided = any(task.profile.imbalance >= IMBALANCED for task in data.tasks)
    return [head, {**head, "imbalance": "sampling"}, *others] if lopsided else PORTFOLIO
