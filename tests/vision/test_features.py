from __future__ import annotations

import torch

from autotune.vision import FeatureStore, Images, Placement, head_reads_input


def compute(store, split, preprocess, backbone, folder, asked=None):
    """Asks a store for the features of a side."""
    placement = Placement("cpu")
    module = backbone.build(3)

    def keep_going():
        if asked is not None:
            asked.append(1)
        return True

    return store.get(
        Images(split, preprocess, placement), module, "head", backbone, placement, folder, keep_going=keep_going
    )


def test_the_head_on_features_answers_what_the_network_answers(split, preprocess, backbone, tmp_path):
    """Features through the head alone equal images through the whole network."""
    module = backbone.build(3).eval()
    features = compute(FeatureStore(), split, preprocess, backbone, tmp_path)
    whole = torch.cat([module(x) for x in Images(split, preprocess, Placement("cpu")).plain()])
    torch.manual_seed(0)
    module.head.reset_parameters()
    alone = module.head(features)
    assert features.shape == (90, 16)
    assert torch.allclose(alone, torch.cat([module(x) for x in Images(split, preprocess, Placement("cpu")).plain()]))
    assert whole.shape == alone.shape


def test_features_are_computed_once_for_memory_and_disk(split, preprocess, backbone, tmp_path):
    """The second call, and another process's first, ask no batch."""
    store, asked = FeatureStore(), []
    first = compute(store, split, preprocess, backbone, tmp_path, asked)
    assert len(asked) == 2
    second = compute(store, split, preprocess, backbone, tmp_path, asked)
    third = compute(FeatureStore(), split, preprocess, backbone, tmp_path, asked)
    assert len(asked) == 2
    assert torch.equal(first, second)
    assert torch.equal(first, third)


def test_an_altered_file_is_computed_again(split, preprocess, backbone, tmp_path):
    """Flipped bytes in the cache are noticed by their checksum."""
    first = compute(FeatureStore(), split, preprocess, backbone, tmp_path)
    (path,) = (tmp_path / "features").glob("*.safetensors")
    blob = bytearray(path.read_bytes())
    blob[-3] ^= 255
    path.write_bytes(blob)
    asked = []
    again = compute(FeatureStore(), split, preprocess, backbone, tmp_path, asked)
    assert asked
    assert torch.equal(first, again)


def test_random_weights_are_never_kept(split, preprocess, backbone, tmp_path):
    """Without weights there is nothing that a later trial could share."""
    compute(FeatureStore(), split, preprocess, backbone.with_weights(None), tmp_path)
    assert not (tmp_path / "features").exists()


def test_a_head_that_is_not_the_last_word_is_noticed(backbone):
    """A network that changes the head's answer afterwards cannot train its head alone."""

    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = backbone.build(3)

        def forward(self, x):
            return self.net(x) * 2

    sample = torch.randn(2, 3, 16, 16)
    assert head_reads_input(backbone.build(3).eval(), "head", sample)
    assert not head_reads_input(Scaled().eval(), "net.head", sample)
