"""Data source: the classification sets of torchvision, by their names."""

from __future__ import annotations

from collections.abc import Iterable

import autotune

PREFIX = "torchvision:"


def open_set(location: str) -> autotune.DataSource:
    """Opens ``torchvision:NAME``, or ``torchvision:NAME:OPTION=VALUE:...``.

    Raises:
        DataError: There is no such set, it is not here and cannot be downloaded, or it is not for classification.
        UsageError: An option is not understood.
    """
    from autotune.builtin.torchvision_sets.source import TorchvisionSource

    return TorchvisionSource(location.removeprefix(PREFIX))


@autotune.hookimpl
def autotune_data_sources() -> Iterable[autotune.DataSourceSpec]:
    """Offers torchvision's sets."""
    return [
        autotune.DataSourceSpec(
            name="torchvision",
            summary="a classification set of torchvision, downloaded if need be: torchvision:CIFAR10, or "
            "torchvision:CIFAR10:root=DIR:download=false",
            accepts=lambda location: location.startswith(PREFIX),
            open=open_set,
        )
    ]
