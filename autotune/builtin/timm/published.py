"""Published weights: from this machine's caches without a network, else from the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

import autotune
from autotune.vision.hub import is_reachable, offline_wish

FILES = ("model.safetensors", "pytorch_model.bin")


def published(name: str) -> autotune.Weights:
    """The weights that timm publishes for a name.

    Args:
        name: The architecture, with or without a tag.

    Raises:
        WeightsUnavailable: None are published, or the hub cannot be reached (answered within seconds).
    """
    published = timm.get_pretrained_cfg(name)
    if published is None or not published.has_weights:
        raise autotune.WeightsUnavailable(f"nobody publishes weights for timm/{name}", hint=_remedy(name))
    path = _from_hub(name, published) if published.hf_hub_id else _from_address(name, str(published.url))
    return _weights(path, published.license)


def _from_hub(name: str, published: Any) -> Path:
    repository, _, revision = published.hf_hub_id.partition("@")
    files = (published.hf_hub_filename,) if published.hf_hub_filename else FILES
    for file in files:
        found = try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    _need_network(name, constants.ENDPOINT)
    for file in files:
        try:
            return Path(hf_hub_download(repository, file, revision=revision or None))
        except EntryNotFoundError as error:
            if file == files[-1] or isinstance(error, LocalEntryNotFoundError):
                raise _failed(name, error) from error
        except (HfHubHTTPError, GatedRepoError, OSError) as error:
            raise _failed(name, error) from error
    raise _failed(name, None)


def _from_address(name: str, url: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists():
        _need_network(name, url)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (OSError, RuntimeError) as error:
            raise _failed(name, error) from error
    return path


def _need_network(name: str, url: str) -> None:
    wish = offline_wish()
    if wish or not is_reachable(url):
        why = f"{wish} is set" if wish else f"{url} cannot be reached"
        raise autotune.WeightsUnavailable(
            f"the weights of timm/{name} are not on this machine, and {why}", hint=_remedy(name)
        )


def _failed(name: str, error: Exception | None) -> autotune.WeightsUnavailable:
    reason = str(error).strip().splitlines()[0] if error and str(error).strip() else "no file of weights was found"
    return autotune.WeightsUnavailable(f"the weights of timm/{name} cannot be had: {reason}", hint=_remedy(name))


def _remedy(name: str) -> str:
    return (
        "install a plugin that brings weights (e.g. autotune-efficientnet-lite), "
        f"name a file of your own (timm/{name}@weights.safetensors), or start from random weights (pretrained=false)"
    )


def _weights(path: Path, licence: str | None) -> autotune.Weights:
    # The hub's cache names a large file by its sha256, which saves reading it.
    blob = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", blob):
        return autotune.Weights(path=path, digest=blob[:16], source="hub", licence=licence)
    return autotune.Weights.of_file(path, source="hub", licence=licence)
