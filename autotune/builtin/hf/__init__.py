"""Data source: sets of images that Hugging Face's library ``datasets`` loads."""

from __future__ import annotations

from collections.abc import Iterable

import autotune

PREFIX = "hf:"


def open_set(location: str) -> autotune.DataSource:
    """Opens ``hf:PATH``, or ``hf:PATH:OPTION=VALUE:...``.

    Raises:
        DataError: The library is not installed; there is no such set, or it has no images with classes.
        UsageError: An option is not understood.
    """
    try:
        from autotune.builtin.hf.source import HuggingFaceSource
    except ImportError as error:
        raise autotune.DataError(
            f"{location}: needs the library datasets, which is not installed",
            hint="pip install 'autotune-vision[hf]'",
        ) from error
    return HuggingFaceSource(location.removeprefix(PREFIX))


@autotune.hookimpl
def autotune_data_sources() -> Iterable[autotune.DataSourceSpec]:
    """Offers what ``datasets`` loads."""
    return [
        autotune.DataSourceSpec(
            name="hf",
            summary="a set of images that Hugging Face's datasets loads, from a folder or the hub: hf:PATH, or "
            "hf:PATH:image=COLUMN:label=COLUMN",
            accepts=lambda location: location.startswith(PREFIX),
            open=open_set,
        )
    ]
