"""Heads on vectors: the properties that the papers state, and that all of them share."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from autotune import CheckpointError
from autotune.builtin.probe.form import Form
from autotune.builtin.probe.heads import HEADS, build_finished, build_head
from autotune.builtin.probe.recipe import ProbeRecipe
from autotune.vision import knn_probabilities

FEATURES, CLASSES, IMAGES = 8, 3, 30


class Listed:
    """Vectors that are read row by row."""

    def __init__(self, whole):
        self.whole = whole

    def __len__(self):
        return len(self.whole)

    def rows(self, indices):
        """Some of them."""
        return self.whole[indices]


def some(count=IMAGES, seed=0):
    """Random vectors, and a class for each."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, FEATURES, generator=generator) + 0.5, torch.arange(count) % CLASSES


def begun(kind, vectors, labels, **values):
    """A head of some kind that has taken from the images what is not trained."""
    torch.manual_seed(0)
    recipe = ProbeRecipe(backbone="timm/any", head=kind, **values)
    head = build_head(Form.of(recipe, features=FEATURES, classes=CLASSES, images=len(labels)))
    head.begin(vectors, labels)
    return head.eval().requires_grad_(False)


def test_there_is_a_head_for_every_choice():
    """The recipe offers the heads that there are."""
    assert set(HEADS) == set(ProbeRecipe.model_fields["head"].annotation.__args__)


def test_knn_gives_training_images_their_labels():
    """With k = 1 every training image is told its own class."""
    vectors, labels = some()
    head = begun("knn", vectors, labels, k=1)
    assert torch.equal(head(vectors).argmax(dim=1), labels)


def test_knn_tells_the_smoothed_votes():
    """The softmax of its logits is the vote, moved towards the uniform distribution by the smoothing."""
    vectors, labels = some()
    queries, _ = some(7, seed=1)
    head = begun("knn", vectors, labels, k=5, temperature=0.1, smoothing=0.2)
    votes = knn_probabilities(vectors, labels, queries, classes=CLASSES, k=5, temperature=0.1)
    torch.testing.assert_close(head(queries).softmax(dim=1), 0.8 * votes + 0.2 / CLASSES)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_prototypes_of_one_image_are_the_nearest_neighbour(distance):
    """With one image a class the nearest class mean is the nearest image (Snell et al. 2017)."""
    vectors, labels = some(CLASSES)
    queries, _ = some(200, seed=1)
    head = begun("prototype", vectors, labels, distance=distance)
    if distance == "cosine":
        nearest = begun("knn", vectors, labels, k=1)(queries).argmax(dim=1)
    else:
        nearest = labels[torch.cdist(queries, vectors).argmin(dim=1)]
    assert torch.equal(head(queries).argmax(dim=1), nearest)
    assert len(nearest.unique()) == CLASSES


def test_prototypes_are_a_softmax_over_squared_distances():
    """By Euclidean distance the probabilities fall with the squared distance to the class means (Snell et al. 2017)."""
    vectors, labels = some()
    queries, _ = some(7, seed=1)
    head = begun("prototype", vectors, labels, distance="euclidean", temperature=0.3)
    means = torch.stack([vectors[labels == c].mean(dim=0) for c in range(CLASSES)])
    variance = (vectors - vectors.mean(dim=0)).square().sum(dim=1).mean()
    wanted = torch.softmax(-torch.cdist(queries, means).square() / variance / 0.3, dim=1)
    torch.testing.assert_close(head(queries).softmax(dim=1), wanted, rtol=1e-4, atol=1e-5)


def test_cosine_logits_do_not_know_the_length_of_features():
    """Scaled features have the same logits, bounded by the scale (Gidaris and Komodakis 2018)."""
    vectors, labels = some()
    head = begun("cosine", vectors, labels)
    torch.testing.assert_close(head(17.0 * vectors), head(vectors))
    torch.testing.assert_close(head(1e-3 * vectors), head(vectors))
    assert float(head(vectors).abs().max()) <= float(head.scale) + 1e-4


def test_cosine_starts_from_the_classes_directions():
    """Before any training each class's vector is the mean direction of its images, of length 1."""
    vectors, labels = some()
    head = begun("cosine", vectors, labels)
    mean = functional.normalize(vectors[labels == 1], dim=1).mean(dim=0)
    torch.testing.assert_close(head.weight[1], functional.normalize(mean, dim=0))


def test_the_linear_head_is_handed_over_as_one_plain_layer():
    """With the standardisation folded in, the layer gives the logits of standardising first."""
    vectors, labels = some()
    vectors = vectors * torch.logspace(-2, 2, FEATURES) + 3
    head = begun("linear", vectors, labels)
    head.linear.weight.normal_()
    head.linear.bias.normal_()
    plain = head.finished().requires_grad_(False)
    assert type(plain) is torch.nn.Linear
    torch.testing.assert_close(plain(vectors), head(vectors), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_standardised_features_have_no_scale(kind):
    """Features that are stretched, all alike, and moved begin as the same head."""
    vectors, labels = some()
    moved = 50 * vectors - torch.linspace(-2, 2, FEATURES)
    torch.testing.assert_close(
        begun(kind, moved, labels).standard(moved), begun(kind, vectors, labels).standard(vectors), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_vectors_may_be_held_or_read(kind):
    """A head that reads its vectors row by row begins with the tensors of one that is given all of them."""
    vectors, labels = some()
    held, read = begun(kind, vectors, labels), begun(kind, Listed(vectors), labels)
    for name, tensor in held.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name], tensor)


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_a_class_without_images_stays_finite(kind):
    """Where one class has no training image no logit is infinite; the heads that are not trained never say it."""
    vectors, _ = some()
    labels = torch.arange(IMAGES) % 2
    head = begun(kind, vectors, labels)
    logits = head(vectors)
    assert bool(torch.isfinite(logits).all())
    if not head.trained:
        assert int(logits.argmax(dim=1).max()) == 1


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_heads_compute_in_full_precision(kind):
    """Under autocast, and for features in half of it, the logits are those of float32."""
    vectors, labels = some()
    head = begun(kind, vectors, labels)
    halves = vectors.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        under = head(halves)
    assert under.dtype == torch.float32
    assert torch.equal(under, head(halves.float()))


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_what_was_handed_over_fits_a_new_module(kind):
    """The tensors of a finished head fill a new one of its form, which gives the same logits."""
    vectors, labels = some()
    head = begun(kind, vectors, labels)
    finished = head.finished().eval()
    again = build_finished(Form.from_facts({"head": head.form.to_facts()})).eval().requires_grad_(False)
    again.load_state_dict(finished.state_dict())
    assert torch.equal(again(vectors), finished(vectors))


@pytest.mark.parametrize("facts", [{}, {"head": {"kind": "linear"}}, {"head": "linear"}])
def test_facts_of_another_version_are_named(facts):
    """A checkpoint that describes no head, or another version's, is an error with a remedy."""
    with pytest.raises(CheckpointError, match="does not describe its head") as caught:
        Form.from_facts(facts)
    assert "version of autotune" in caught.value.hint
