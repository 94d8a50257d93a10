"""Every torchvision classifier as a backbone, ``torchvision/NAME``.

``torchvision/NAME``, e.g. ``torchvision/resnet50``, with a file of your own behind an ``@``.

- **Blocks** are the network's children in the order of registration; where fewer than four of them hold weights, the
  widest gives way to its own parts (``features`` to its stages, a ViT's encoder to its layers).
- **The head** is the last linear layer (SqueezeNet's last convolution). VGG's and AlexNet's wide linear layers are the
  topmost block.
- **Inception v3 and GoogLeNet** have no auxiliary heads here, and take values scaled by a half instead of rescaling
  inside. Inception was trained at 299 px and takes 75 px or more.
- **ViTs** take multiples of their patch, their position embeddings interpolated; MaxViT takes 224 px only.
- **Dropout** sets every dropout of the architecture, ``drop_path`` its stochastic depth, rising linearly to the top.
  Architectures without them (ResNet, RegNet, ShuffleNet) ignore them.
- **Weights** are torchvision's best for each name, from torch's own cache or download.pytorch.org.

All 80 classifiers are tried on the meta device; the tests train two steps of all but the largest.
"""

from __future__ import annotations

from collections.abc import Iterable

import autotune


@autotune.hookimpl
def autotune_backbones() -> Iterable[autotune.BackboneSourceSpec]:
    """Offers the source ``torchvision``."""
    return [
        autotune.BackboneSourceSpec(name="torchvision", summary="the classifiers that come with PyTorch", build=_build)
    ]


def _build() -> autotune.BackboneSource:
    # Imported here: the source needs torch, which listing the plugins must not load.
    from autotune.builtin.torchvision.source import TorchvisionSource

    return TorchvisionSource()
