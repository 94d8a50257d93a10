"""The two sides of P8: each fine-tunes everything, alone in its process."""

from __future__ import annotations

import argparse
from pathlib import Path

STEPS = 30


def bare_side(chosen: argparse.Namespace) -> None:
    """The bare loop on one batch; imports nothing of autotune."""
    import bare
    import torch

    module = bare.training_mode(bare.network(chosen.weights, chosen.classes))
    optimizer = bare.fused_adamw(module)
    inputs = torch.randn(chosen.batch, 3, chosen.img_size, chosen.img_size).to(memory_format=bare.CHANNELS_LAST)
    labels = torch.randint(chosen.classes, (chosen.batch,))
    for _ in range(chosen.steps):
        bare.train_epoch(module, optimizer, inputs, labels, batch_size=chosen.batch, dtype=getattr(torch, chosen.dtype))


def autotune_side(chosen: argparse.Namespace) -> None:
    """The trainer for one whole epoch: the head's own phase, everything unfrozen, validation, checkpoint."""
    from material import Material, Settings
    from trained import Training

    material = Material(Settings(work=chosen.work, images=chosen.images, img_size=chosen.img_size, batch=chosen.batch))
    training = Training(material, unfreeze=8, augment="flip-crop")
    training.epoch()
    training.close()


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("side", choices=("bare", "autotune"))
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--img-size", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, help="autotune's: how many")
    parser.add_argument("--weights", help="the bare side's: a safetensors file")
    parser.add_argument("--classes", type=int, help="the bare side's: width of the head")
    parser.add_argument("--steps", type=int, default=STEPS, help="the bare side's: how many")
    parser.add_argument("--dtype", default="float32", help="the bare side's precision")
    chosen = parser.parse_args()
    (bare_side if chosen.side == "bare" else autotune_side)(chosen)


if __name__ == "__main__":
    main()
