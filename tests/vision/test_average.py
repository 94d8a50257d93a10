from __future__ import annotations

import torch

from autotune.vision import Average


def test_an_average_that_looks_back_nowhere_is_the_weights():
    """With a horizon of 0 the average equals the newest weights, bit for bit."""
    tensor = torch.zeros(4)
    average = Average({"w": tensor}, horizon=0)
    for step in range(5):
        tensor.copy_(torch.randn(4, generator=torch.Generator().manual_seed(step)))
        average.update()
        assert torch.equal(average.mean["w"], tensor)


def test_equal_weights_average_to_themselves():
    """An average of equal states is that state."""
    tensor = torch.full((3,), 0.7)
    average = Average({"w": tensor}, horizon=10)
    for _ in range(20):
        average.update()
    assert torch.equal(average.mean["w"], tensor)


def test_applied_puts_the_mean_in_and_takes_it_out_again():
    """Inside the block the module holds the mean; after it the very bits from before. Integers are left alone."""
    live = {"w": torch.tensor([1.0]), "count": torch.tensor(3)}
    average = Average(live, horizon=2)
    average.update()
    live["w"].fill_(5.0)
    average.update()
    with average.applied():
        inside = live["w"].item()
        assert 1.0 < inside < 5.0
        assert live["count"].item() == 3
    assert live["w"].item() == 5.0
