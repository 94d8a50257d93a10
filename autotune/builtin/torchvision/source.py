"""The collection: names, facts, published weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
import torchvision

import autotune
from autotune.builtin.torchvision.network import TorchvisionBackbone
from autotune.builtin.torchvision.surveying import published, survey
from autotune.vision.hub import is_reachable, offline_wish
from autotune.vision.surveys import Surveys

SHIPPED = Path(__file__).with_name("surveys.json")
"""Facts for one version of torchvision, written by the module ``shipping``."""


class TorchvisionSource(autotune.BackboneSource):
    """torchvision's classifiers, each with the best of its published weights."""

    def __init__(self) -> None:
        self._surveys = Surveys("torchvision", version("torchvision"), survey, shipped=SHIPPED)

    def names(self) -> Sequence[str]:
        """Every classifier."""
        return tuple(torchvision.models.list_models(module=torchvision.models))

    def backbone(self, name: str) -> autotune.Backbone:
        """The backbone without weights.

        Raises:
            UnknownName: torchvision has no such classifier.
        """
        self._check(name)
        survey = self._surveys.of(name)
        scores = published(name).meta["_metrics"].get("ImageNet-1K", {})
        imagenet = scores["acc@1"] / 100 if "acc@1" in scores else None
        return TorchvisionBackbone(name, replace(survey, facts=replace(survey.facts, imagenet=imagenet)))

    def fetch(self, name: str) -> autotune.Weights:
        """The published weights, from torch's cache on this machine or from download.pytorch.org.

        Raises:
            UnknownName: torchvision has no such classifier.
            WeightsUnavailable: They are not on this machine and cannot be downloaded.
        """
        self._check(name)
        entry = published(name)
        path = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]
        if not path.exists():
            _download(name, entry.url, path)
        licence = self._surveys.of(name).facts.licence
        return autotune.Weights.of_file(path, source="hub", licence=licence, classes=tuple(entry.meta["categories"]))

    def _check(self, name: str) -> None:
        if name not in self.names():
            raise autotune.UnknownName("torchvision classifier", name, self.names())


def _download(name: str, url: str, path: Path) -> None:
    remedy = (
        f"copy the file from another machine to {path}, name a file of your own "
        f"(torchvision/{name}@weights.safetensors), choose a backbone whose weights a plugin brings "
        "(e.g. autotune-efficientnet-lite), or start from random weights (pretrained=false)"
    )
    wish = offline_wish()
    if wish or not is_reachable(url):
        why = f"{wish} is set" if wish else f"{url} cannot be reached"
        raise autotune.WeightsUnavailable(
            f"the weights of torchvision/{name} are not on this machine, and {why}", hint=remedy
        )
    # The file's name ends with the beginning of its sha256.
    digest = path.stem.rpartition("-")[2]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=False)
    except (OSError, RuntimeError) as error:
        raise autotune.WeightsUnavailable(
            f"the weights of torchvision/{name} cannot be had: {error}", hint=remedy
        ) from error
