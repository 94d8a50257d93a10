"""Recipes to try first: known to be good on single tasks, and both ways to weigh several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune import Scalar

PORTFOLIO: Sequence[Mapping[str, Scalar]] = (
    # The heads alone on frozen features share nothing that is trained: a score that sharing must beat.
    {"unfreeze_share": 0.0, "lr": 3e-3, "weight_decay": 0.01, "augment": "none", "balance": 0.5},
    # The topmost blocks, learned by all tasks, the small ones more often than their size says.
    {"unfreeze_share": 0.15, "lr": 1e-3, "lr_blocks": 1e-3, "augment": "none", "balance": 0.5},
    # The same with weights learned from each task's uncertainty (Kendall, Gal and Cipolla 2018, arXiv:1705.07115).
    {
        "unfreeze_share": 0.15,
        "lr": 1e-3,
        "lr_blocks": 1e-3,
        "augment": "none",
        "balance": 0.5,
        "weighting": "uncertainty",
    },
    # The heads, then the top half of the blocks (LP-FT; Kumar et al. 2022, arXiv:2202.10054).
    {"unfreeze_share": 0.5, "lr": 1e-3, "lr_blocks": 1e-3, "augment": "none", "balance": 0.5},
    # Everything, smaller rates below (Howard and Ruder 2018, arXiv:1801.06146).
    {"unfreeze_share": 1.0, "lr": 1e-3, "lr_blocks": 5e-4, "layer_decay": 0.9, "augment": "none", "balance": 0.5},
)
