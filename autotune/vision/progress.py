"""How far a training is, in epochs."""

from __future__ import annotations

import math


def further(at: float, share: float) -> float:
    """The epochs done after a share of the next whole one, which always are more than before.

    A training that was cut short within an epoch goes through all images anew; cut short again, it may have seen fewer
    of them than the first time, and still has done more in all.

    Args:
        at: Epochs done, perhaps a part of one.
        share: Share of the images that were seen since, above 0; 1 ends the epoch.
    """
    whole = math.floor(at) + 1
    return float(whole) if share >= 1 else at + (whole - at) * share
