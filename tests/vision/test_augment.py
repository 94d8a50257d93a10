from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_sample_images
from torchvision.transforms import v2

from autotune.vision import POLICIES, build_batch_policy, build_policy
from autotune.vision.augment import Erase, Mixture, augmix
from autotune.vision.operations import KINDS

SIDE = 32
DRAWS = 1500


def theirs(name):
    """The policy as torchvision has it."""
    mode = v2.InterpolationMode.BILINEAR
    crops = {"flip-crop": 0.35, "trivial": 0.7, "rand": 0.7, "augmix": 0.7, "heavy": 0.25}
    steps = [v2.RandomResizedCrop(SIDE, scale=(crops[name], 1.0), interpolation=mode, antialias=True)]
    if name in ("flip-crop", "heavy"):
        steps.append(v2.RandomHorizontalFlip())
    if name in ("trivial", "heavy"):
        steps.append(v2.TrivialAugmentWide())
    if name == "rand":
        steps.append(v2.RandAugment(num_ops=2, magnitude=9))
    if name == "augmix":
        steps.append(v2.AugMix())
    if name == "heavy":
        steps.append(v2.RandomErasing(p=0.25, value=0))
    return v2.Compose(steps)


@pytest.fixture(scope="module")
def photo():
    """A piece of a photograph, neither square nor symmetric, uint8 [3, 40, 52]."""
    whole = torch.from_numpy(load_sample_images().images[0].copy()).permute(2, 0, 1)
    return v2.functional.resize(whole, [40, 52], antialias=True)


@pytest.mark.parametrize("name", sorted(POLICIES))
@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 40, 65)])
def test_every_policy_gives_squares_of_bytes_and_repeats_with_its_seed(name, shape):
    """A draw is uint8 [3, 32, 32] whatever the image's size, and the same seed draws the same view."""
    policy = build_policy(name, 32, "bicubic")
    image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    draws = []
    for seed in (3, 3, 4, 5, 6):
        torch.manual_seed(seed)
        draws.append(policy(image))
    assert all(d.dtype == torch.uint8 and d.shape == (3, 32, 32) for d in draws)
    assert torch.equal(draws[0], draws[1])
    varied = any(not torch.equal(draws[0], d) for d in draws[2:])
    assert varied == (name != "none")


@pytest.mark.parametrize("name", ["none", "trivial", "rand", "augmix"])
def test_policies_that_do_not_say_flip_never_mirror(name):
    """An arrow that points right points right in every draw, as far as its two ends can tell."""
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, :, 26:] = 255
    policy = build_policy(name, 32, "bilinear")
    mirrored = 0
    for seed in range(40):
        torch.manual_seed(seed)
        view = policy(image).float()
        left, right = view[..., :6].mean(), view[..., -6:].mean()
        mirrored += int(left > right + 100)
    # Inversion and solarising may swap bright and dark; a policy that flips would do so in half of the draws.
    assert mirrored <= 12


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"none"}))
def test_policies_mean_what_torchvisions_mean(photo, name):
    """Over many draws each place of the image, in each channel, has torchvision's mean and deviation.

    The bounds are six standard errors, of which 192 comparisons exceed one by chance less often than once in a million
    times; moments of views that a policy distorts in another way, or more often, lie far outside.
    """
    policy = build_batch_policy(name, SIDE, "bilinear")
    table = torch.rand(DRAWS, policy.numbers, generator=torch.Generator().manual_seed(2))
    ours = torch.cat([policy(photo.expand(len(part), -1, -1, -1), part) for part in torch.split(table, 250)])
    reference = theirs(name)
    torch.manual_seed(2)
    expected = torch.stack([reference(photo) for _ in range(DRAWS)])
    assert moments_agree(ours, expected)
    if name != "flip-crop":
        # Half as many draws of the undistorted image: a policy that acts less often is found out.
        mild = build_batch_policy("flip-crop" if name == "heavy" else "none", SIDE, "bilinear")
        quiet = mild(photo.expand(DRAWS, -1, -1, -1), torch.rand(DRAWS, mild.numbers))
        assert not moments_agree(torch.where((torch.arange(DRAWS) % 2 == 0).view(-1, 1, 1, 1), ours, quiet), expected)


def moments_agree(one, two):
    """Whether means and mean squares of [N, 3, S, S] agree in each of 64 places: six standard errors, and rounding."""
    for power in (1, 2):
        samples = [
            torch.nn.functional.avg_pool2d((views.double() / 255) ** power, SIDE // 8).flatten(1)
            for views in (one, two)
        ]
        error = sum(s.var(0) / len(s) for s in samples) ** 0.5
        if bool(((samples[0].mean(0) - samples[1].mean(0)).abs() > 6 * error + 2e-3).any()):
            return False
    return True


def test_crops_of_a_squeezed_image_are_those_of_the_image(photo):
    """Given its real size, an image that was squeezed into a square shows what it would have shown itself."""
    wide = v2.functional.resize(photo, [40, 80], antialias=True)
    squeezed = v2.functional.resize(wide, [60, 60], antialias=True)
    policy = build_batch_policy("flip-crop", SIDE, "bilinear")
    table = torch.rand(50, policy.numbers, generator=torch.Generator().manual_seed(4))
    expected = policy(wide.expand(50, -1, -1, -1), table).float()
    sizes = torch.tensor([[40, 80]]).expand(50, 2)
    found = policy(squeezed.expand(50, -1, -1, -1), table, sizes).float()
    ignorant = policy(squeezed.expand(50, -1, -1, -1), table).float()
    assert (found - expected).abs().mean() < 6
    assert (ignorant - expected).abs().mean() > 3 * (found - expected).abs().mean()


def test_one_image_is_a_batch_of_one(photo):
    """The policy for one image draws its numbers from torch's global generator, and means the same."""
    batch = build_batch_policy("heavy", SIDE, "bicubic")
    torch.manual_seed(11)
    table = torch.rand(1, batch.numbers)
    torch.manual_seed(11)
    assert torch.equal(build_policy("heavy", SIDE, "bicubic")(photo), batch(photo[None], table)[0])


def test_a_table_of_another_width_is_refused(photo):
    """A row decides one draw; another number of numbers would be another policy's."""
    policy = build_batch_policy("trivial", SIDE, "bilinear")
    with pytest.raises(ValueError, match=r"\(1, 24\) numbers for 1 images that take 25 each"):
        policy(photo[None], torch.rand(1, policy.numbers - 1))


def test_a_quarter_is_erased():
    """A rectangle is black in a quarter of the images; its share of the area is torchvision's."""
    count = 8000
    white = torch.full((count, 3, SIDE, SIDE), 255, dtype=torch.uint8)
    table = torch.rand(count, Erase().numbers, generator=torch.Generator().manual_seed(5))
    black = (Erase()(white, table) == 0).float().mean((1, 2, 3))
    erased = black[black > 0]
    assert abs(len(erased) - count / 4) < 5 * (count * 3 / 16) ** 0.5
    assert 0.015 < erased.min() < erased.max() < 0.35
    assert abs(erased.mean() - 0.175) < 0.01


def test_augmix_weighs_original_and_chains_as_dirichlet():
    """The original's share is uniform, the chains' share alike, and without operations the image itself remains."""
    image = torch.full((1, 3, SIDE, SIDE), 200, dtype=torch.uint8)
    (mixture,) = augmix(SIDE, "bilinear").steps
    assert isinstance(mixture, Mixture)
    quiet = Mixture(mixture.space.__class__(torch.tensor([KINDS.index("Identity")]), mixture.space.magnitudes))
    table = torch.rand(500, quiet.numbers, generator=torch.Generator().manual_seed(6))
    assert bool((quiet(image.expand(500, -1, -1, -1), table).int() - 200 >= -1).all())
    table[:, 0] = 0.999999
    kept = mixture(image.expand(500, -1, -1, -1), table)
    assert bool(((kept.int() - 200).abs() <= 1).all())


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_gpu_gives_the_same_views(photo, name):
    """Crops are the same bits; operations differ at most where rounding decides."""
    policy = build_batch_policy(name, SIDE, "bicubic")
    table = torch.rand(64, policy.numbers, generator=torch.Generator().manual_seed(2))
    images = photo.expand(64, -1, -1, -1)
    there = policy(images.cuda(), table)
    assert there.is_cuda
    difference = (there.cpu().int() - policy(images, table).int()).abs().float()
    assert difference.mean() <= (0 if name in ("none", "flip-crop") else 0.05)
