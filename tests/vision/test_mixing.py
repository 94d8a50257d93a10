from __future__ import annotations

import pytest
import torch

from autotune.vision import Mix, make_mix


def batch(*shapes):
    """Tensors whose samples hold their own number, and labels 0 to 7."""
    numbers = torch.arange(8.0)
    tensors = tuple(numbers.view(-1, *[1] * (len(s))).expand(8, *s).clone() for s in shapes)
    maps = torch.channels_last
    return tuple(t.to(memory_format=maps) if t.ndim == 4 else t for t in tensors), torch.arange(8)


def test_nothing_to_mix_is_none():
    """With every strength at 0 there is no step that could slow the loop."""
    assert make_mix(0, 0, 8) is None
    assert make_mix(0, 0, 8, 0.1) is not None


def test_mixup_gives_labels_the_shares_of_their_images():
    """Every sample, in every tensor of the boundary, and its label hold the same share of the same neighbour."""
    torch.manual_seed(1)
    (first, second), wanted = Mix(classes=8, mixup=0.4)(*batch((4,), (2, 3, 3)))
    assert torch.allclose(wanted.sum(1), torch.ones(8))
    share = wanted[3, 3]
    assert 0 <= share <= 1
    expected = share * 3 + (1 - share) * 2
    assert torch.allclose(first[3], expected.expand(4))
    assert torch.allclose(second[3], expected.expand(2, 3, 3))


def test_cutmix_gives_labels_the_area_that_stays():
    """A label's share is the area of the map that is still its own image's."""
    for seed in range(20):
        torch.manual_seed(seed)
        (maps,), wanted = Mix(classes=8, cutmix=1.0)(*batch((3, 6, 6)))
        own = (maps[5, 0] == 5).float().mean()
        assert wanted[5, 5].item() == pytest.approx(own.item(), abs=1e-6)
        assert set(maps[5].unique().tolist()) <= {4.0, 5.0}


def test_cutmix_without_height_and_width_mixes_in_full():
    """Vectors have no box to cut: they are mixed like mixup's."""
    torch.manual_seed(0)
    (vectors,), wanted = Mix(classes=8, cutmix=1.0)(*batch((5,)))
    assert vectors[2, 0].item() == pytest.approx((wanted[2, 2] * 2 + wanted[2, 1] * 1).item())


def test_cutmix_cuts_no_channels():
    """A map [N, H, W, C], as Swin's are, has no box cut from its width and channels: it is mixed in full."""
    torch.manual_seed(0)
    (maps,), wanted = Mix(classes=8, cutmix=1.0)(
        (torch.arange(8.0).view(8, 1, 1, 1).repeat(1, 4, 4, 12),), torch.arange(8)
    )
    assert len(maps[3].unique()) == 1
    assert maps[3, 0, 0, 0].item() == pytest.approx((3 * wanted[3, 3] + 2 * wanted[3, 2]).item())


def test_two_ways_take_turns():
    """With mixup and cutmix both on, each batch takes one of them."""
    torch.manual_seed(0)
    mix = Mix(classes=8, mixup=0.4, cutmix=1.0)
    whole = [bool(torch.isin(mix(*batch((1, 8, 8)))[0][0], torch.arange(8.0)).all()) for _ in range(40)]
    assert {True, False} == set(whole)


def test_brightness_shifts_each_sample_by_a_share_of_its_range():
    """All values of a sample move together, samples differ, and no shift exceeds the share."""
    torch.manual_seed(0)
    values = torch.rand(64, 3, 5, 5)
    (moved,), labels = Mix(classes=2, brightness=0.2)((values,), torch.zeros(64, dtype=torch.int64))
    shift = (moved - values).flatten(1)
    spread = values.flatten(1).amax(1) - values.flatten(1).amin(1)
    assert torch.allclose(shift.amin(1), shift.amax(1), atol=1e-6)
    assert (shift[:, 0].abs() <= 0.2 * spread + 1e-6).all()
    assert shift[:, 0].std() > 0.05
    assert labels.dtype == torch.int64


def test_mixing_keeps_the_memory_layout():
    """A channels_last map stays channels_last: from another layout the trained part is many times slower."""
    maps = torch.rand(8, 3, 6, 6).to(memory_format=torch.channels_last)
    for mix in (Mix(classes=8, mixup=0.4), Mix(classes=8, cutmix=1.0), Mix(classes=8, brightness=0.1)):
        (mixed,), _ = mix((maps,), torch.arange(8))
        assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("recipe", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_probabilities_are_mixed_as_labels_are(recipe):
    """Labels written as probabilities of 1 give the same batch and targets; others are mixed by the same share."""
    mix = Mix(classes=8, **recipe)
    inputs, labels = batch((3, 6, 6))
    torch.manual_seed(3)
    expected = mix(inputs, labels)
    torch.manual_seed(3)
    found = mix(inputs, torch.nn.functional.one_hot(labels, 8).float())
    assert torch.equal(found[0][0], expected[0][0])
    assert torch.equal(found[1], expected[1])
    soft = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)).softmax(1)
    torch.manual_seed(3)
    _, wanted = mix(inputs, soft)
    share = expected[1][3, 3]
    torch.testing.assert_close(wanted[3], share * soft[3] + (1 - share) * soft[2])


def test_probabilities_pass_what_mixes_nothing():
    """Brightness leaves targets as they are, whatever they are."""
    soft = torch.rand(8, 4).softmax(1)
    _, wanted = Mix(classes=4, brightness=0.1)(batch((3, 6, 6))[0], soft)
    assert wanted is soft
