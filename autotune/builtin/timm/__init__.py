"""Every timm classifier as a backbone, ``timm/NAME``.

``timm/NAME``, e.g. ``timm/resnet50``, with a tag where several weights are published
(``timm/resnet50.a1_in1k``), with a file of your own behind an ``@`` (``timm/resnet50@weights.safetensors``).

- **Blocks** are the coarse groups that an architecture describes (``group_matcher(coarse=True)``), buffers included and
  the head left out. A group without a layer's weight, e.g. a last norm, joins the block beneath it. MetaFormer, PiT and
  CSATv2 describe no groups and RDNet no coarse ones: their stem and stages are the blocks.
- **The head** is what timm calls the classifier and whatever else depends on the number of classes: two layers in
  distilled networks, one more in VOLO.
- **Image sizes** are found by asking the network on the meta device, not by a table. A network that takes one size as
  it stands is built anew with ``img_size`` where the published weights still load, their position embeddings resampled
  by timm: so most ViTs and Swins take multiples of their patch. CaiT, ConViT, EfficientFormer, GCViT, gMLP, Hiera,
  LeViT, NesT, PiT, Visformer and VOLO take their own size only.
- **Facts** of every architecture come with autotune for one version of timm (``surveys.json``). For another version, or
  for a tag, they are found when first asked for, in a few seconds, and kept in the cache folder. After upgrading timm:
  ``python -m autotune.builtin.timm.shipping``.
- **Weights** are loaded by timm, so that files of foreign layouts work; files are read without running code in them.

Not offered, since they have no classifier: ``deepseek_vit_*_enc``, ``gemma4_vit_*_enc``, ``mobilenetv5_*_enc`` and
``qwen3_vit_*_enc``, the encoders of multimodal models.
"""

from __future__ import annotations

from collections.abc import Iterable

import autotune


@autotune.hookimpl
def autotune_backbones() -> Iterable[autotune.BackboneSourceSpec]:
    """Offers the source ``timm``."""
    return [
        autotune.BackboneSourceSpec(
            name="timm", summary="PyTorch Image Models by Ross Wightman and others", build=_build
        )
    ]


def _build() -> autotune.BackboneSource:
    # Imported here: the source needs torch, which listing the plugins must not load.
    from autotune.builtin.timm.source import TimmSource

    return TimmSource()
