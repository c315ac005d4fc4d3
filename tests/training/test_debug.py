from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medalist.data.items import Normalisation
from medalist.data.loader import Batch
from medalist.data.padding import Padding
from medalist.data.targets import BoxTargets, MapTargets
from medalist.engine.checkpoint import save_weights
from medalist.errors import ConfigError, FoldError, MedalistError
from medalist.kinds import load_settings
from medalist.reporter import SilentReporter
from medalist.training.debug import DebugRequest, Scene, debug, named_batch, picture_of, plain, prepare_scene, stream
from medalist.training.request import TrainRequest

SHORT = DebugRequest(steps=12)
FILES = {"batch0.png", "debug.json", "index.html", "lr_range.png", "overfit.png"}


def asked(toy: Any, *overrides: str, fold: int = 0) -> TrainRequest:
    settings = load_settings(toy.config, overrides)
    return TrainRequest(settings, toy.config, overrides, str(toy.data), (fold,), None, toy.runs)


def scene_of(toy: Any) -> Scene:
    return prepare_scene(asked(toy), SHORT)


def test_a_network_is_looked_at_and_no_run_is_made(untrained: Any, quiet: SilentReporter) -> None:
    found = debug(asked(untrained), SHORT, quiet)
    folder = untrained.runs / "toy_nuclei" / "tiny" / "debug"
    assert found.page == folder / "index.html"
    assert {path.name for path in folder.iterdir()} >= FILES
    assert not (folder.parent / "lock.json").exists() and not list(folder.parent.glob("fold*"))
    kept = json.loads((folder / "debug.json").read_text())
    assert kept["anatomy"]["parameters"] == found.diagnostics.anatomy.parameters
    assert kept["hunt"]["culprit"] is None and len(kept["overfit"]["losses"]) == 13
    with Image.open(folder / "lr_range.png") as made:
        assert made.size[0] > 500
    page = found.page.read_text()
    assert "encoder" in page and found.tables[0].title == "Parts"


def test_weights_that_are_broken_are_named_first(untrained: Any, quiet: SilentReporter, tmp_path: Path) -> None:
    scene = scene_of(untrained)
    with torch.no_grad():
        next(iter(scene.job.model.parameters()))[0] = torch.nan
    save_weights(scene.job.model, tmp_path / "bad.safetensors")
    broken = replace(SHORT, checkpoint=tmp_path / "bad.safetensors", folder=tmp_path / "out")
    found = debug(asked(untrained), broken, quiet)
    assert found.page == tmp_path / "out" / "index.html"
    assert found.wrong[0].startswith("nan in the weights encoder.")
    assert json.loads((tmp_path / "out" / "debug.json").read_text())["overfit"]["losses"] == ["nan"]


def test_batches_are_those_of_the_loop(untrained: Any) -> None:
    job = scene_of(untrained).job
    count = len(job.train)
    several = list(islice(stream(job, 0), count + 1))
    job.train.batch_sampler.epoch = 1
    second = next(iter(job.train))
    assert several[count].indices == second.indices
    torch.testing.assert_close(several[count].image, second.image)


def test_named_samples_make_the_batch(untrained: Any) -> None:
    scene = scene_of(untrained)
    names = scene.setup.folds.training(0)[:2]
    batch = named_batch(scene.subject, names, 0)
    assert [scene.job.names[index] for index in batch.indices] == list(names)
    alone = named_batch(scene.subject, names[:1], 0)
    assert len(alone.indices) == 2 and torch.equal(alone.image[0], batch.image[0])
    held = scene.setup.folds.held_out(0)[0]
    with pytest.raises(ConfigError, match=r"it is held out in this fold, take another --fold"):
        named_batch(scene.subject, [held], 0)
    with pytest.raises(ConfigError, match=r"--samples nobody: .* \(no such sample\)"):
        named_batch(scene.subject, ["nobody"], 0)


@pytest.mark.parametrize(
    ("changed", "overrides", "error"),
    [({"fold": 2}, (), FoldError), ({"fold": -1}, (), FoldError), ({}, ("train.lr=x",), MedalistError)],
    ids=["fold above", "fold below", "override"],
)
def test_mistakes_are_those_of_a_training(
    untrained: Any, changed: dict[str, Any], overrides: tuple[str, ...], error: type[MedalistError]
) -> None:
    with pytest.raises(error):
        prepare_scene(asked(untrained, *overrides, **changed), SHORT)


def test_pixels_come_back_from_the_network(untrained: Any) -> None:
    scene = scene_of(untrained)
    batch = next(stream(scene.job, 0))
    norm = scene.job.train.dataset.dataset.normalisation
    shown = picture_of(batch, norm, scene.job.names, ())
    again = (shown.images.transpose(0, 3, 1, 2) / 255 - np.array(norm.mean)[:, None, None]) / np.array(norm.std)[
        :, None, None
    ]
    np.testing.assert_allclose(again, batch.image.numpy(), atol=1e-4)
    assert shown.void is None and isinstance(batch.target, MapTargets)
    judged = torch.ones_like(batch.target.maps[:, :1])
    judged[1, :, 2, 3] = 0
    part = picture_of(replace(batch, target=MapTargets(batch.target.maps, judged)), norm, scene.job.names, ())
    assert part.void is not None and np.argwhere(part.void).tolist() == [[1, 2, 3]]
    broken = replace(batch, image=batch.image * torch.nan)
    plain_norm = Normalisation((0.5,) * 3, (0.5,) * 3)
    assert picture_of(broken, plain_norm, scene.job.names, ()).images.max() == 0


def test_void_pixels_are_those_that_are_not_judged(untrained: Any) -> None:
    scene = scene_of(untrained)
    batch = next(stream(scene.job, 0))
    norm, names = Normalisation((0.5,) * 3, (0.5,) * 3), scene.job.names
    judged = torch.ones_like(batch.target.maps[:, :1])
    judged[0, :, :5] = 0
    shown = picture_of(replace(batch, target=MapTargets(batch.target.maps, judged)), norm, names, ())
    assert shown.void is not None and shown.void[0, :5].all() and shown.void.sum() == 5 * judged.shape[3]
    assert picture_of(replace(batch, target=MapTargets(batch.target.maps)), norm, names, ()).void is None


@pytest.mark.parametrize("which", [pytest.param("whales", marks=pytest.mark.slow), "signs"])
def test_an_embedder_is_looked_at(
    which: str, request: pytest.FixtureRequest, quiet: SilentReporter, tmp_path: Path
) -> None:
    made = request.getfixturevalue(which)
    found = debug(asked(made), replace(SHORT, folder=tmp_path / "out"), quiet)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= FILES
    assert found.diagnostics.hunt.culprit is None
    assert any(part.name == "head" for part in found.diagnostics.anatomy.parts)
    scene = scene_of(made)
    labels = scene.job.train.dataset.dataset.labels
    assert len(scene.subject.classes) == max(labels) + 1


def test_json_has_no_numbers_that_are_none() -> None:
    assert plain({1: (float("nan"), 2.0), "a": [float("-inf"), None]}) == {"1": ["nan", 2.0], "a": ["-inf", None]}


def test_boxes_are_drawn_on_the_pictures_of_a_batch() -> None:
    target = BoxTargets((torch.tensor([[2.0, 3.0, 8.0, 7.0]]), torch.zeros(0, 4)), (torch.tensor([0]), torch.zeros(0)))
    batch = Batch(torch.zeros(2, 3, 10, 12), target, (0, 1), (Padding(10, 12),) * 2)
    shown = picture_of(batch, Normalisation((0.0,) * 3, (1.0,) * 3), ["a", "b"], ("cat",))
    white = np.argwhere((shown.images[0] == 255).all(axis=-1))
    assert (white.min(axis=0).tolist(), white.max(axis=0).tolist()) == ([3, 2], [6, 7])
    assert not shown.images[1].any() and list(shown.captions) == ["1 boxes", "0 boxes"]
