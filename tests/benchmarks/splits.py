"""P9: how many families of networks can be cut."""

from collections.abc import Iterator

from material import Material
from measuring import Measure


def p9(material: Material) -> Iterator[Measure]:
    """P9."""
    yield from ()
