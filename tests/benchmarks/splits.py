"""P9: the share of network families that can be cut, compared with the whole network once more by this file's own hand.

`autotune.vision.Cuts` compares every cut before it offers it; what it offers is compared here again, in evaluation mode
and by fewer lines, so that the share does not rest on the word of what is measured.
"""

from __future__ import annotations

import gc
import importlib.util
import itertools
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import torch
import torchvision
from material import ROOT, Material
from measuring import Figures, Goal, Measure, Row
from torch import Tensor, nn

from autotune import Backbone
from autotune.builtin.timm.source import TimmSource
from autotune.builtin.torchvision.source import TorchvisionSource
from autotune.vision import Cut, Cuts, freeze
from autotune.vision.agreement import full_precision

DEPTHS = (0, 1, 2, 3)
CLASSES, IMAGES, SMALL = 3, 3, 64
CLOSE = 1e-3
QUICKLY = 16
OLD = 20
"""Networks after which a fresh process takes over: what libraries keep of each adds up."""
SOURCES = {"timm": TimmSource, "torchvision": TorchvisionSource}


def smallest_of_timm() -> list[str]:
    """The smallest network of every timm family, as the tests of the source choose them."""
    path = ROOT / "tests" / "builtin" / "timm" / "test_every_family.py"
    spec = importlib.util.spec_from_file_location("every_family", path)
    families = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(families)
    return [name for _, name in families._smallest()]


def networks() -> Iterator[tuple[str, str]]:
    """``timm`` or ``torchvision``, and the name of a network there."""
    for name in smallest_of_timm():
        yield "timm", name
    for name in torchvision.models.list_models(module=torchvision.models):
        yield "torchvision", name


def gradients(module: nn.Module, logits: Tensor) -> list[Tensor]:
    """Of a loss that every logit has a part in, by the trained parameters."""
    trained = [p for p in module.parameters() if p.requires_grad]
    loss = (logits * torch.linspace(1, 2, logits.numel(), device=logits.device).view_as(logits)).sum()
    # Retained: in evaluation mode LeViT keeps its attention biases, so two passes share a part of their graphs.
    found = torch.autograd.grad(loss, trained, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(trained, found, strict=True)]


def equal(ours: Tensor, theirs: Tensor) -> bool:
    """To rounding, by the largest value."""
    return bool((ours - theirs).abs().max() <= CLOSE * theirs.abs().max().clamp(min=1e-6))


def differs(module: nn.Module, backbone: Backbone, cut: Cut, images: Tensor) -> str | None:
    """What differs between a cut and the whole network, or None."""
    freeze(module, backbone, cut.unfreeze)
    module.eval()
    whole = module(images)
    crossing = cut.unfused(images)
    parts = cut.suffix(*crossing)
    if not equal(parts.detach(), whole.detach()):
        return "other outputs"
    if not all(equal(ours, theirs) for ours, theirs in zip(cut.prefix(images), crossing, strict=True)):
        return "other activations where batch normalisation is fused"
    both = zip(gradients(module, parts), gradients(module, whole), strict=True)
    return None if all(equal(ours, theirs) for ours, theirs in both) else "other gradients"


def failure(source: str, name: str, device: str) -> str | None:
    """Why a network cannot be cut at some depth, or None if it can be cut at all."""
    gc.collect()
    backbone = SOURCES[source]().backbone(name)
    with full_precision():
        return at_every_depth(backbone, device)


def at_every_depth(backbone: Backbone, device: str) -> str | None:
    """The first depth that cannot be cut, with the reason."""
    size = backbone.facts.nearest_size(SMALL)
    torch.manual_seed(0)
    module = backbone.build(CLASSES, img_size=size, load=False).to(device)
    cuts = Cuts(module, backbone, img_size=size, folder=None)
    images = torch.randn(IMAGES, 3, size, size, device=device)
    for depth in DEPTHS:
        if depth >= backbone.facts.blocks:
            break
        cut = cuts.at(depth)
        reason = cuts.why_not(depth) if cut is None else differs(module, backbone, cut, images)
        if reason is not None:
            return f"k={depth}: {reason}"
    return None


def failures(asked: list[tuple[str, str]], device: str) -> Iterator[tuple[tuple[str, str], str | None]]:
    """Each network with its failure: most of the time goes to Python that follows it, so every core has a process."""
    workers = len(os.sched_getaffinity(0)) if device == "cpu" else 1
    for start in range(0, len(asked), OLD * workers):
        some = asked[start : start + OLD * workers]
        with ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            yield from zip(some, pool.map(failure, *zip(*some, strict=True), itertools.repeat(device)), strict=True)


def p9(material: Material) -> Iterator[Measure]:
    """Share of timm families (smallest network each) and torchvision classifiers that can be cut at k = 0 to 3."""
    failed: list[str] = []

    def count() -> Figures:
        device = material.settings.device
        asked = list(networks())[:: QUICKLY if material.settings.quick else 1]
        tried = dict.fromkeys(SOURCES, 0)
        good = dict.fromkeys(SOURCES, 0)
        for (source, name), reason in failures(asked, device):
            tried[source] += 1
            good[source] += reason is None
            if reason is not None:
                failed.append(f"{source}/{name}: {reason}")
            print(f"P9: {source}/{name}: {reason or 'equal'}", file=sys.stderr, flush=True)
        counted = {f"{source} {what}": of[source] for what, of in (("tried", tried), ("equal", good)) for source in of}
        return {**counted, "tried": sum(tried.values()), "equal": sum(good.values())}

    yield Measure(
        sides={"count": count},
        warmups=0,
        rounds=1,
        notes=lambda: failed,
        rows=[
            Row(
                name="P9",
                title="share of timm families and torchvision classifiers whose cuts are equal at k = 0 to 3",
                value=lambda f: f["equal"] / f["tried"],
                figures=("timm equal", "timm tried", "torchvision equal", "torchvision tried"),
                goal=Goal(sense="at least", value=0.95),
            )
        ],
    )
