"""Recipes to try first: known to be good on many tasks, from the cheapest to the dearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PORTFOLIO: Sequence[Mapping[str, str | int | float | bool]] = (
    # The head alone on frozen features: seconds, and a score that everything else must beat.
    {"unfreeze_share": 0.0, "lr": 3e-3, "weight_decay": 0.01, "augment": "none"},
    # The head, then the top third of the blocks (LP-FT; Kumar et al. 2022, arXiv:2202.10054).
    {"unfreeze_share": 0.35, "lr": 1e-3, "lr_blocks": 1e-3, "layer_decay": 0.8, "augment": "none"},
    # Everything, smaller rates below (Howard and Ruder 2018, arXiv:1801.06146).
    {"unfreeze_share": 1.0, "lr": 1e-3, "lr_blocks": 1e-3, "layer_decay": 0.8, "augment": "trivial"},
    # SGD with momentum and a small rate, as most published fine-tuning does.
    {
        "unfreeze_share": 0.6,
        "opt": "sgd",
        "lr": 1e-2,
        "lr_blocks": 1e-2,
        "layer_decay": 0.8,
        "weight_decay": 1e-4,
        "augment": "flip-crop",
    },
)
