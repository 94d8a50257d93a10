from __future__ import annotations

import torch

from autotune.vision import freeze, weights_digest


def test_weights_in_a_file_are_named_by_it(backbone):
    """The file's digest is the name, whatever the network holds by now."""
    module = backbone.build(3)
    assert weights_digest(backbone, module, freeze(module, backbone, 0)) == backbone.weights.digest


def test_random_weights_are_named_by_their_bytes(backbone):
    """Equal tensors beneath the head have one name, whatever the head is; another one in any of them another name."""
    bare = type(backbone)(None)
    torch.manual_seed(0)
    module = bare.build(3)
    partition = freeze(module, bare, 0)
    name = weights_digest(bare, module, partition)
    with torch.no_grad():
        module.head.weight.add_(1)
        assert weights_digest(bare, module, partition) == name
        module.top[1].running_mean[0] += 1
    assert weights_digest(bare, module, partition) != name
