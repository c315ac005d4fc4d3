"""Features of a frozen encoder, computed once and stored on disk, so that a head is trained in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import nn

from medalist.contents import CACHE, hash_files
from medalist.data.fitted import FittedInferenceDataset
from medalist.data.items import Read
from medalist.data.loader import batches
from medalist.data.samplers import SizeBucketSampler
from medalist.errors import DataError
from medalist.files import read_json, sha256_json, write_json, written
from medalist.models.backbone import build_encoder
from medalist.models.pooling import build_pooling, pools_before
from medalist.models.weights import Resolved
from medalist.reading import require_file
from medalist.records import Sample
from medalist.reporter import Reporter
from medalist.tasks.embed.network import build_normalisation
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.networks import placed

ALWAYS = {"contrast", "invert", "size", "train_size", "fit", "fill", "margin", "trim"}
"""The keys of `image` that always count in the name of a file of features.

Keys that came later count only where they do not have their default, so that kept features stay valid.
"""


def kept_features(
    settings: EmbedSettings,
    weights: Resolved | None,
    samples: Sequence[Sample],
    read: Read,
    fabric: Fabric,
    home: Path,
    reporter: Reporter,
) -> NDArray[Any]:
    """Return the features of whole images in the order of `samples`; they are computed where no stored file fits.

    The array is memory-mapped: float32[N, C] pooled features where the pooling has no weights to learn, else
    float16[N, C, h, w] maps, in half precision because they are large. The file is in `home/features`, and its name is
    the hash of the encoder, its weights, how images are read, the precision, and the names of the images. They are
    computed again where the contents of the images have changed.
    """
    assert weights is not None, "a frozen encoder has weights"
    made = made_of(settings, weights, samples)
    path = home / "features" / f"{sha256_json(made)[:16]}.npy"
    note = path.with_suffix(".json")
    # The contents are not part of the name, so that the features of changed images replace the ones before.
    seen = hash_files([str(image) for sample in samples for image in sample.images], home / CACHE)
    made["contents"] = sha256_json([[seen[str(image)] for image in sample.images] for sample in samples])
    if path.exists() and note.exists() and read_json(note, DataError) == made:
        require_file(path)
        kept: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return kept
    encoder: nn.Module = build_encoder(settings.model, settings.image.size, weights)
    pooled = pools_before(settings.model)
    if pooled:
        encoder = nn.Sequential(encoder, build_pooling(settings.model))
    model = placed(encoder, fabric, settings.train.channels_last)
    norm, channels = build_normalisation(settings), settings.model.in_channels
    whole = FittedInferenceDataset(samples, range(len(samples)), settings.image.size, norm, read, channels=channels)
    order = SizeBucketSampler([settings.image.size] * len(samples), 1, settings.predict.batch)
    loader = batches(whole, order, settings.loader.workers, fabric.device.type == "cuda")
    note.unlink(missing_ok=True)
    array: np.memmap[Any, np.dtype[Any]] | None = None
    with written(path) as temporary, reporter.progress("features", len(samples)) as bar, torch.inference_mode():
        for raw in loader:
            batch = raw.to(fabric.device, settings.train.channels_last)
            with fabric.autocast():
                found = model(batch.image).float().cpu().numpy()
            if array is None:
                kind = np.float32 if pooled else np.float16
                array = open_memmap(temporary, mode="w+", dtype=kind, shape=(len(samples), *found.shape[1:]))
            array[list(batch.indices)] = found
            bar.advance(len(batch.indices))
        assert array is not None
        array.flush()
        del array  # Windows cannot rename a mapped file
    write_json(note, made)
    result: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return result


def made_of(settings: EmbedSettings, weights: Resolved, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return everything that the features depend on: encoder, weights, how images are read, precision, and images."""
    model = settings.model.model_dump(mode="json", include={"encoder", "options", "in_channels"})
    image = settings.image.model_dump(mode="json", include=ALWAYS)
    image |= settings.image.model_dump(mode="json", exclude_defaults=True)
    return {
        "model": model,
        "pooled": settings.model.pooling if pools_before(settings.model) else None,
        "weights": weights.sha256,
        "image": image,
        "precision": settings.train.precision,
        "samples": sha256_json([[s.id, [[path.name, path.stat().st_size] for path in s.images]] for s in samples]),
    }
