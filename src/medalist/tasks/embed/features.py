"""What a frozen encoder says of each image, computed once and kept, so that a head is trained in seconds."""

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

from medalist.data.dataset import Read
from medalist.data.fitted import FittedInferenceDataset
from medalist.data.loader import batches
from medalist.data.samplers import SizeBucketSampler
from medalist.errors import DataError
from medalist.files import read_json, sha256_json, write_json, written
from medalist.models.backbone import build_encoder
from medalist.models.pooling import build_pooling, pools_before
from medalist.models.weights import Resolved
from medalist.records import Sample
from medalist.reporter import Reporter
from medalist.tasks.embed.jobs import build_normalisation
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.jobs import to_predict


def kept_features(
    settings: EmbedSettings,
    weights: Resolved | None,
    samples: Sequence[Sample],
    read: Read,
    fabric: Fabric,
    home: Path,
    reporter: Reporter,
) -> NDArray[Any]:
    """Features of whole images in the order of `samples`, mapped: pooled float32[N, C], or maps float16[N, C, h, w].

    They are pooled where the pooling has nothing to learn. Kept under `home/features`, in a file named by the hash of
    the encoder, its weights, how images are read, and the images. Maps are kept as halves, as they are large.
    """
    assert weights is not None, "a frozen encoder has weights"
    made = made_of(settings, weights, samples)
    path = home / "features" / f"{sha256_json(made)[:16]}.npy"
    note = path.with_suffix(".json")
    if path.exists() and note.exists() and read_json(note, DataError) == made:
        kept: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return kept
    encoder: nn.Module = build_encoder(settings.model, settings.image.size, weights)
    pooled = pools_before(settings.model)
    if pooled:
        encoder = nn.Sequential(encoder, build_pooling(settings.model))
    model = to_predict(encoder.eval(), fabric, settings.train.channels_last)
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
    write_json(note, made)
    result: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return result


def made_of(settings: EmbedSettings, weights: Resolved, samples: Sequence[Sample]) -> dict[str, Any]:
    """What decides the features: the encoder, its weights, how images are read, precision, and the images."""
    model = settings.model.model_dump(mode="json", include={"encoder", "options", "in_channels"})
    return {
        "model": model,
        "pooled": settings.model.pooling if pools_before(settings.model) else None,
        "weights": weights.sha256,
        "image": settings.image.model_dump(mode="json"),
        "precision": settings.train.precision,
        "samples": sha256_json([[s.id, [[path.name, path.stat().st_size] for path in s.images]] for s in samples]),
    }
