"""The data source ``digits``: scikit-learn's 1,797 handwritten digits, which lie on every machine that has autotune.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, https://doi.org/10.24432/C50P49.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

from autotune import DataError, DataSource, DataSourceSpec, Item, hookimpl

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LOCATION = "digits"


class DigitsSource(DataSource):
    """Images of 8 by 8 pixels in 17 shades of grey, of the classes ``0`` to ``9``."""

    def items(self) -> Iterator[Item]:
        """Every digit, in scikit-learn's order."""
        for i, label in enumerate(self._digits[1]):
            yield Item(key=f"{i:04}", label=str(label))

    def read(self, key: str) -> npt.NDArray[np.uint8]:
        """One digit, uint8 [8, 8, 3], its shades spread over 0 to 255."""
        images = self._digits[0]
        if not (key.isdecimal() and int(key) < len(images)):
            raise DataError(f"{LOCATION}: there is no image {key!r}", hint=f"0000 to {len(images) - 1:04} are there")
        image: npt.NDArray[np.uint8] = images[int(key)]
        return image

    def stamp(self, key: str) -> str:
        """The version of scikit-learn, with which the images come."""
        return version("scikit-learn")

    @cached_property
    def _digits(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Images uint8 [N, 8, 8, 3] and labels int64 [N]."""
        import numpy as np
        from sklearn.datasets import load_digits

        found = load_digits()
        grey = np.rint(found.images * (255 / 16)).astype(np.uint8)
        return np.repeat(grey[..., np.newaxis], 3, axis=3), found.target.astype(np.int64)


@hookimpl
def autotune_data_sources() -> Iterable[DataSourceSpec]:
    """Offers ``digits``."""
    return [
        DataSourceSpec(
            name="digits",
            summary="scikit-learn's 1,797 handwritten digits of 8x8 pixels: digits",
            accepts=lambda location: location == LOCATION,
            open=lambda location: DigitsSource(),
        )
    ]
