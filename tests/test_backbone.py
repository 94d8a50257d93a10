"""Which image sizes a backbone takes."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from autotune import Facts

FIXED = Facts(name="timm/vit", params=1, blocks=12, input_size=224, sizes="fixed")
FREE = Facts(name="timm/resnet", params=1, blocks=8, input_size=224)
STEPS = Facts(name="timm/swin", params=1, blocks=4, input_size=256, sizes="multiple", size_step=32, min_size=100)


@pytest.mark.parametrize(
    ("facts", "size", "said"),
    [
        (FIXED, 192, "timm/vit takes images of 224 px only, not 192"),
        (FREE, 31, "timm/resnet takes images of 32 px or more, not 31"),
        (STEPS, 130, "timm/swin takes multiples of 32 px, not 130"),
        (STEPS, 96, "timm/swin takes images of 100 px or more, not 96"),
    ],
)
def test_a_refused_size_says_why(facts, size, said):
    """The reason names the network, what it takes and what was wished for."""
    assert facts.size_problem(size) == said


@pytest.mark.parametrize(("facts", "size"), [(FIXED, 224), (FREE, 32), (FREE, 97), (STEPS, 128), (STEPS, 256)])
def test_an_accepted_size_has_no_problem(facts, size):
    """What the rules allow is accepted."""
    assert facts.size_problem(size) is None


@given(
    sizes=st.sampled_from(["any", "multiple"]),
    step=st.integers(1, 64),
    smallest=st.integers(1, 300),
    wished=st.integers(1, 600),
)
def test_the_nearest_size_is_accepted_and_nearest(sizes, step, smallest, wished):
    """The nearest size is accepted, and no accepted size is nearer."""
    facts = Facts(name="a/b", params=1, blocks=1, input_size=step * 400, sizes=sizes, size_step=step, min_size=smallest)
    nearest = facts.nearest_size(wished)
    assert facts.size_problem(nearest) is None
    gap = abs(nearest - wished)
    assert all(facts.size_problem(s) for s in range(max(1, wished - gap + 1), wished + gap))


def test_a_fixed_size_is_always_the_nearest():
    """A network of one size gets that size, whatever is wished for."""
    assert FIXED.nearest_size(64) == 224
