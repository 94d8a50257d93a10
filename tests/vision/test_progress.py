from __future__ import annotations

import pytest

from autotune.vision import further


@pytest.mark.parametrize(
    ("at", "share", "done"), [(0.0, 1.0, 1.0), (2.0, 0.25, 2.25), (2.5, 0.2, 2.6), (2.5, 1.0, 3.0), (0.3, 1.0, 1.0)]
)
def test_a_part_of_an_epoch_leads_towards_its_end(at, share, done):
    """A whole pass ends the epoch that was begun; a part of one never leads back, however small it is."""
    assert further(at, share) == pytest.approx(done)
    assert further(at, 1e-3) > at
    assert further(at, 1.0) == int(further(at, 1.0))
