"""The collection: names, facts, published weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import timm

import autotune
from autotune.builtin.timm.network import TimmBackbone
from autotune.builtin.timm.published import published
from autotune.builtin.timm.scores import imagenet_score
from autotune.builtin.timm.surveying import survey
from autotune.vision.surveys import Surveys

NOT_CLASSIFIERS = ("deepseek_vit_*_enc", "gemma4_vit_*_enc", "mobilenetv5_*_enc", "qwen3_vit_*_enc")
"""Encoders that give token features and have no classifier."""


SHIPPED = Path(__file__).with_name("surveys.json")
"""Facts for one version of timm, written by the module ``shipping``."""


class TimmSource(autotune.BackboneSource):
    """timm's classifiers, by architecture (``resnet50``) or by architecture and tag (``resnet50.a1_in1k``)."""

    def __init__(self) -> None:
        self._surveys = Surveys("timm", version("timm"), survey, shipped=SHIPPED)
        self._names: tuple[str, ...] | None = None

    def names(self) -> Sequence[str]:
        """Every architecture; each also exists with the tags of its published weights."""
        if self._names is None:
            self._names = tuple(timm.list_models(exclude_filters=list(NOT_CLASSIFIERS)))
        return self._names

    def backbone(self, name: str) -> autotune.Backbone:
        """The backbone without weights.

        Raises:
            UnknownName: timm has no such classifier, or no such tag of it.
        """
        self._check(name)
        survey = self._surveys.of(name)
        facts = replace(survey.facts, imagenet=imagenet_score(name))
        return TimmBackbone(name, replace(survey, facts=facts))

    def fetch(self, name: str) -> autotune.Weights:
        """The published weights, from the caches of this machine or from the hub.

        Raises:
            UnknownName: timm has no such classifier, or no such tag of it.
            WeightsUnavailable: None are published, or the hub cannot be reached.
        """
        self._check(name)
        return published(name)

    def _check(self, name: str) -> None:
        architecture, _, tag = name.partition(".")
        if architecture not in self.names():
            raise autotune.UnknownName("timm classifier", name, self.names())
        tagged = timm.list_pretrained(f"{architecture}.*") if tag else []
        if tag and name not in tagged:
            raise autotune.UnknownName("timm classifier", name, [architecture, *tagged])
