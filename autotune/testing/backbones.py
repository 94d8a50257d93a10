"""What every backbone source promises, as checks and as a suite. Running them imports torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autotune.backbone import Backbone, BackboneSource
from autotune.errors import UnknownName
from autotune.specs import BackboneSourceSpec
from autotune.testing.contract import promise


@dataclass(frozen=True, kw_only=True)
class BackboneCase:
    """A backbone source, and those of its names that are built.

    Attributes:
        spec: The source.
        names: Names without the prefix; small networks, since each is built and run.
        classes: Number of classes of the new head.
    """

    spec: BackboneSourceSpec
    names: Sequence[str]
    classes: int = 3

    def source(self) -> BackboneSource:
        """The source, newly built."""
        source = self.spec.build()
        promise(isinstance(source, BackboneSource), f"{self.spec.name}: build returns {source!r}, no BackboneSource")
        return source

    def backbones(self) -> list[Backbone]:
        """The backbones that are tried."""
        source = self.source()
        return [source.backbone(name) for name in self.names]


def check_names(case: BackboneCase) -> None:
    """It lists names, each once and without the prefix, and refuses others as `UnknownName`."""
    source = case.source()
    names = list(source.names())
    twice = [name for name, count in Counter(names).items() if count > 1]
    promise(names and not twice, f"{case.spec.name} lists {twice[:1] or 'no names'}" + " twice" * bool(twice))
    missing = [name for name in case.names if name not in names]
    promise(not missing, f"{case.spec.name} does not list {missing}")
    try:
        source.backbone("no-such-network-7f3a")
    except UnknownName:
        return
    promise(False, f"{case.spec.name} does not raise UnknownName for a name that it does not list")


def check_facts(case: BackboneCase) -> None:
    """A backbone's facts bear its full name and numbers that can be true, and no weights unless asked."""
    for name, backbone in zip(case.names, case.backbones(), strict=True):
        facts = backbone.facts
        promise(facts.name == f"{case.spec.name}/{name}", f"{name}: its facts are named {facts.name!r}")
        promise(facts.params > 0 and facts.blocks > 0, f"{name}: {facts.params} parameters, {facts.blocks} blocks")
        promise(facts.size_problem(facts.input_size) is None, f"{name}: it refuses its own input size")
        nearest = facts.nearest_size(facts.input_size + 13)
        promise(facts.size_problem(nearest) is None, f"{name}: it refuses {nearest} px, which its facts call nearest")
        promise(min(facts.std) > 0, f"{name}: a deviation of {facts.std} cannot be divided by")
        promise(backbone.weights is None, f"{name}: it has weights that nobody asked for")


def check_builds(case: BackboneCase) -> None:
    """The module maps images [N, 3, S, S] to logits [N, classes], training and evaluating, and can be trained."""
    import torch

    for backbone in case.backbones():
        module = backbone.build(case.classes, drop=0.1, load=False)
        size = backbone.facts.input_size
        images = torch.randn(2, 3, size, size)
        for training in (True, False):
            module.train(training)
            logits = module(images)
            promise(isinstance(logits, torch.Tensor), f"{backbone.name}: training={training} gives no tensor")
            promise(
                tuple(logits.shape) == (2, case.classes),
                f"{backbone.name}: training={training} gives {tuple(logits.shape)}, not (2, {case.classes})",
            )
        module(images).sum().backward()
        without = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
        promise(not without, f"{backbone.name}: no gradient reaches {without[:3]}")


def check_blocks(case: BackboneCase) -> None:
    """Blocks and head together name every parameter and buffer exactly once, as many blocks as the facts say."""
    for backbone in case.backbones():
        module = backbone.build(case.classes, load=False)
        blocks = backbone.blocks(module)
        known = {n for n, _ in module.named_parameters()} | {n for n, _ in module.named_buffers()}
        promise(
            len(blocks) == backbone.facts.blocks,
            f"{backbone.name}: its facts say {backbone.facts.blocks} blocks, it has {len(blocks)}",
        )
        promise(all(blocks), f"{backbone.name}: a block is empty")
        heads = backbone.head(module)
        of_head = {n for n in known for head in heads if n.startswith(f"{head}.")}
        promise(of_head, f"{backbone.name}: the head {heads} has no parameters")
        count = Counter(name for block in blocks for name in block)
        count.update(of_head)
        twice = [name for name, times in count.items() if times > 1]
        promise(not twice, f"{backbone.name}: {twice[:3]} belong to two blocks, or to a block and the head")
        promise(not count.keys() - known, f"{backbone.name}: {sorted(count.keys() - known)[:3]} are not in the module")
        promise(not known - count.keys(), f"{backbone.name}: {sorted(known - count.keys())[:3]} belong to no block")


BACKBONE_CHECKS: Sequence[Callable[[BackboneCase], None]] = (check_names, check_facts, check_builds, check_blocks)
"""All of them."""


class BackboneSourceSuite:
    """Subclass it as ``class TestMine(BackboneSourceSuite)``, set `spec` and `names`.

    Attributes:
        spec: The source.
        names: Names of small networks, without the prefix; each is built and run.
    """

    spec: BackboneSourceSpec
    names: Sequence[str]

    def case(self) -> BackboneCase:
        """What is tried."""
        return BackboneCase(spec=self.spec, names=self.names)

    def test_names(self) -> None:
        """Names are listed once, others are refused."""
        check_names(self.case())

    def test_facts(self) -> None:
        """Facts can be true."""
        check_facts(self.case())

    def test_builds(self) -> None:
        """Modules give logits, training and evaluating."""
        check_builds(self.case())

    def test_blocks(self) -> None:
        """Blocks and head name everything once."""
        check_blocks(self.case())
