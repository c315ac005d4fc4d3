"""A run from Python: the same predictions and answers as the commands, and one line for each wrong input."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import medalist
from medalist.codecs.images import read_image
from medalist.errors import ConfigError, DataError, RunError
from medalist.kinds import run_settings
from medalist.postprocess.decide import decide
from medalist.predictor import AT_ONCE, Predictor, open_run
from medalist.records import Instances, MapPrediction, Ranking, VectorPrediction
from medalist.runs.opening import open_contest
from medalist.search.gallery import Gallery
from medalist.stores.maps import MapStore
from medalist.stores.vectors import VectorStore

from .conftest import PROJECT, Identities, Toy

PIXELS = np.random.default_rng(4).integers(0, 256, (40, 52, 3)).astype(np.uint8)


@pytest.fixture
def predictor(trained: Toy, at_home: Path) -> Predictor:
    return open_run("toy_nuclei/tiny", runs=trained.runs, device="cpu")


def maps(prediction: object) -> np.ndarray[Any, Any]:
    assert isinstance(prediction, MapPrediction)
    return prediction.maps.astype(int)


def test_held_out_images_are_predicted_as_the_commands_did(trained: Toy, at_home: Path) -> None:
    contest, folds = trained.contest(), trained.run.folds()
    samples = [sample for sample in contest.split.train if sample.id in set(folds.held_out(1))]
    found = open_run(trained.run.folder, folds=[1], device="cpu").predict([sample.images[0] for sample in samples])
    store, channels = MapStore(trained.run.folder / "oof"), ("body", "border")
    assert len(found) == len(samples) > 4
    for sample, prediction in zip(samples, found, strict=True):
        kept = store.read(sample.id, channels)
        assert isinstance(prediction, MapPrediction) and prediction.channels == kept.channels
        # Batches are put together otherwise, and may differ in the last bit of a probability.
        assert np.abs(maps(prediction) - maps(kept)).max() <= 1


def test_all_trained_folds_are_averaged(trained: Toy, predictor: Predictor) -> None:
    alone = [maps(open_run(trained.run.folder, folds=[fold], device="cpu").predict(PIXELS)) for fold in (0, 1)]
    assert predictor.folds == (0, 1) and np.abs(alone[0] - alone[1]).max() > 2
    assert np.abs(maps(predictor.predict(PIXELS)) - np.mean(alone, axis=0)).max() <= 1


def test_an_array_a_path_and_a_list_are_predicted_alike(predictor: Predictor, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "x.png")
    sliced = np.concatenate([PIXELS, PIXELS], axis=2)[..., :3]
    assert not sliced.flags.c_contiguous
    one = maps(predictor.predict(PIXELS))
    assert one.shape == (2, 40, 52)
    for same in (tmp_path / "x.png", str(tmp_path / "x.png"), sliced):
        assert (maps(predictor.predict(same)) == one).all()
    both = predictor.predict([PIXELS, tmp_path / "x.png"])
    assert len(both) == 2 and all(np.abs(maps(each) - one).max() <= 1 for each in both)
    assert predictor.predict([]) == [] == predictor.answer(())


def test_a_list_keeps_its_order_whatever_the_sizes(predictor: Predictor) -> None:
    sizes = [(40 + number % 3 * 32, 40) for number in range(AT_ONCE + 5)]
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    for image, found in zip(images, predictor.predict(images), strict=True):
        assert np.abs(maps(found) - maps(predictor.predict(image))).max() <= 1


def test_answers_are_decided_as_the_last_score_was(toy: Toy, medalist: Callable[..., Any], at_home: Path) -> None:
    command = ("score", "toy_nuclei/tiny", "decide.body=0.4", "decide.min_size=0", "--keep", "--data", str(toy.data))
    assert medalist("--runs", str(toy.runs), *command).code == 0
    predictor = open_run("tiny", runs=toy.runs, device="cpu")
    settings: Any = run_settings(toy.run)
    how = settings.decide.model_copy(update={"body": 0.4, "min_size": 0})
    prediction, answer = predictor.predict(PIXELS), predictor.answer(PIXELS)
    assert isinstance(prediction, MapPrediction) and isinstance(answer, Instances)
    expected = decide(prediction, how)
    assert isinstance(expected, Instances) and (answer.labels == expected.labels).all()
    assert answer.count != decide(prediction, settings.decide).count  # so that the comparison can fail


def test_views_may_be_changed_and_nothing_that_was_trained(trained: Toy, at_home: Path) -> None:
    flipped = open_run("tiny", runs=trained.runs, device="cpu", changes=["predict.tta=flips"])
    turned = maps(flipped.predict(np.ascontiguousarray(PIXELS[::-1])))
    assert np.abs(turned[:, ::-1][:, 8:] - maps(flipped.predict(PIXELS))[:, 8:]).max() > 0  # padded otherwise
    square = PIXELS[:32, :32]
    assert np.abs(maps(flipped.predict(square[::-1]))[:, ::-1] - maps(flipped.predict(square))).max() <= 1
    with pytest.raises(ConfigError, match=r"only predict\.\* may be changed here"):
        open_run("tiny", runs=trained.runs, changes=["train.lr=1"])


def test_several_threads_use_one_predictor(predictor: Predictor) -> None:
    images = [np.roll(PIXELS, step, axis=0) for step in range(12)]
    alone = [maps(predictor.predict(image)) for image in images]
    with ThreadPoolExecutor(4) as threads:
        for expected, found in zip(alone, threads.map(predictor.predict, images), strict=True):
            assert (maps(found) == expected).all()


def test_the_users_random_numbers_stay(trained: Toy, at_home: Path) -> None:
    torch.manual_seed(8)
    expected = torch.rand(3)
    torch.manual_seed(8)
    open_run("tiny", runs=trained.runs, device="cpu").predict(PIXELS)
    assert torch.equal(torch.rand(3), expected)


def test_bf16_is_close(trained: Toy, predictor: Predictor) -> None:
    low = open_run("tiny", runs=trained.runs, device="cpu", precision="bf16-mixed")
    difference = np.abs(maps(low.predict(PIXELS)) - maps(predictor.predict(PIXELS)))
    assert 0 < difference.max() <= 8


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (PIXELS[..., 0], r"image is gray \(40x52\) .* type numpy\.repeat\("),
        (PIXELS[..., :1], r"image is gray \(40x52x1\)"),
        (np.zeros((40, 52, 4), np.uint8), r"image has four channels .*: image\[\.\.\., :3\]"),
        (PIXELS.transpose(2, 0, 1), r"channels first \(3x40x52\); type image\.transpose\(1, 2, 0\)"),
        (np.zeros((2, 40, 52, 3), np.uint8), r"give several images as a list: list\(images\)"),
        (np.zeros((0, 52, 3), np.uint8), "has the shape 0x52x3"),
        (np.zeros((40, 52, 5), np.uint8), "has the shape 40x52x5"),
        (np.array(3, np.uint8), "has the shape of a number"),
        (PIXELS.astype(np.uint16), r"16 bits a channel; type \(image\.clip\(0, 65535\) \* \(255 / 65535\)\)"),
        (PIXELS / np.float32(255), r"is float32, .* type \(image \* 255\)\.round\(\)"),
        (PIXELS > 5, r"is bool, .* type image\.astype\(numpy\.uint8\) \* 255$"),
        (PIXELS.astype(np.int64), r"is int64, .*; type image\.round\(\)\.astype\(numpy\.uint8\)$"),
        (PIXELS * 2.0, r"its values reach from 0 to 510$"),
        (np.full((4, 5, 3), np.nan), "holds values that are no such numbers"),
        ((path for path in ()), r"is of type generator; give a path, list\(images\) for several, or numpy"),
        (torch.zeros(3, 4, 4), r"is of type Tensor; give a path, .*numpy\.asarray\(image\)"),
        (Image.fromarray(PIXELS), "is of type Image; give a path"),
        (None, "is of type NoneType"),
        ({"image": PIXELS}, "is of type dict"),
        ("no/such.png", r"no/such\.png: "),
        (Path(__file__), "not a PNG, JPEG or TIFF"),
    ],
)
def test_what_is_no_image_is_one_line(predictor: Predictor, image: Any, line: str) -> None:
    with pytest.raises(DataError, match=line) as error:
        predictor.predict(image)
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"images\[1\]"):
        predictor.answer([PIXELS, image])


def noting(toy: Toy, **changes: Any) -> Predictor:
    """Open a run whose lock notes other kinds of images; None takes the key away, as in older runs."""
    lock = toy.run.folder / "lock.json"
    values = json.loads(lock.read_text()) | changes
    lock.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
    return open_run("tiny", runs=toy.runs, device="cpu")


def test_a_file_of_another_kind_than_the_training_had(toy: Toy, at_home: Path, tmp_path: Path) -> None:
    assert toy.run.lock().images == ("colour, 8 bits", "gray, 8 bits")
    deep, gray = tmp_path / "deep.png", tmp_path / "gray.png"
    cv2.imwrite(str(deep), PIXELS.astype(np.uint16) * 16)
    Image.fromarray(PIXELS[..., 0]).save(gray)
    predictor = noting(toy, images=["colour, 8 bits"])
    with pytest.raises(DataError, match=r"deep\.png is colour, 16 bits a channel, and tiny was trained on colour, 8 "):
        predictor.predict(deep)
    assert maps(predictor.predict(read_image(deep, white=4080))).shape == (2, 40, 52)
    with pytest.warns(UserWarning, match=r"gray\.png is gray, 8 bits a channel, and tiny was trained on colour, 8 "):
        predictor.predict(gray)
    assert maps(noting(toy, images=["gray, 8 bits"]).predict(gray)).shape == (2, 40, 52)
    assert maps(noting(toy, images=None).predict(deep)).shape == (2, 40, 52)


def test_what_is_told_to_type_works(predictor: Predictor) -> None:
    gray = PIXELS[..., 0]
    found = maps(predictor.predict(np.repeat(gray.reshape(*gray.shape[:2], 1), 3, axis=2)))
    deep = gray[..., None].repeat(3, axis=2).astype(np.uint16) * 257
    same = maps(predictor.predict((deep.clip(0, 65535) * (255 / 65535)).round().astype(np.uint8)))
    assert (found == same).all()


def test_a_run_without_what_is_asked(trained: Toy, at_home: Path, tmp_path: Path) -> None:
    for name, line in (("tiy", "did you mean"), ("", "no run ''")):
        with pytest.raises(RunError, match=line):
            open_run(name, runs=trained.runs)
    with pytest.raises(RunError, match=r"folds = \[0, 7\]; .* has the trained folds 0, 1$"):
        open_run("tiny", runs=trained.runs, folds=[0, 7])
    shutil.copytree(trained.runs, tmp_path / "runs")
    for fold in (0, 1):
        (tmp_path / "runs" / "toy_nuclei" / "tiny" / f"fold{fold}" / "last.safetensors").unlink()
    with pytest.raises(RunError, match="has no trained fold; run medalist train first"):
        open_run("tiny", runs=tmp_path / "runs")
    with pytest.raises(RunError, match="makes no embeddings; use predict or answer"):
        open_run("tiny", runs=trained.runs, device="cpu").embed(PIXELS)


def test_weights_that_were_changed_since_the_training_are_refused(trained: Toy, at_home: Path, tmp_path: Path) -> None:
    shutil.copytree(trained.runs, tmp_path / "runs")
    path = tmp_path / "runs" / "toy_nuclei" / "tiny" / "fold0" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(RunError, match="is not what the training of fold 0 wrote"):
        open_run("tiny", runs=tmp_path / "runs", device="cpu")


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"device": "gpu"}, "no device 'gpu' here"),
        ({"device": "cuda:99"}, "no device 'cuda:99' here"),
        ({"device": ""}, "no device '' here"),
        ({"device": "meta"}, "no device 'meta' here"),
        ({"precision": ""}, "precision = ''; allowed"),
        ({"precision": "bf16"}, "precision = 'bf16'; allowed: 32-true, 16-mixed, bf16-mixed"),
    ],
)
def test_settings_that_cannot_be(trained: Toy, at_home: Path, wrong: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        open_run("tiny", runs=trained.runs, **wrong)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"folds": "0"}, r"folds = '0'; type a list of numbers, such as folds=\[0\]"),
        ({"folds": 0}, "folds = 0; type a list"),
        ({"folds": [0.0]}, r"folds = \[0\.0\]; type a list"),
        ({"folds": []}, r"folds = \[\]; .* has the trained folds 0, 1"),
        ({"name": None}, "name = None; type COMPETITION/RUN"),
        ({"name": "a\0b"}, "no run"),
        ({"name": "x" * 5000}, "no run 'xxx"),
        ({"runs": 5}, "runs = 5; type "),
    ],
)
def test_what_names_no_run_is_one_line(trained: Toy, at_home: Path, wrong: dict[str, Any], line: str) -> None:
    given: dict[str, Any] = {"name": "tiny", "runs": trained.runs, **wrong}
    with pytest.raises(RunError, match=line):
        open_run(given.pop("name"), **given)


def test_the_working_folder_may_change(trained: Toy, at_home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(trained.runs, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    predictor = open_run("tiny", device="cpu", changes="predict.tta=none")
    expected = predictor.answer(PIXELS)
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    found = predictor.answer(PIXELS)
    assert isinstance(found, Instances) and isinstance(expected, Instances)
    assert (found.labels == expected.labels).all() and predictor.run.folder.is_absolute()


def test_a_copy_of_a_fold_is_not_another_fold(toy: Toy, at_home: Path) -> None:
    shutil.copytree(toy.run.fold_folder(0), toy.run.folder / "fold00")
    assert open_run("tiny", runs=toy.runs, device="cpu").folds == (0, 1)


def test_weights_that_are_no_numbers_are_refused(toy: Toy, at_home: Path) -> None:
    path = toy.run.checkpoint(0, "last")
    state = load_file(path)
    name = next(name for name, value in state.items() if value.ndim == 4)
    state[name][0, 0] = float("nan")
    save_file(state, path)
    (path.parent / "weights.json").unlink()  # its hash would be refused before
    with pytest.raises(RunError, match=rf"last\.safetensors: {name} holds NaN or infinity"):
        open_run("tiny", runs=toy.runs, device="cpu")


def test_defaults_of_torch_do_not_matter(trained: Toy, at_home: Path, predictor: Predictor) -> None:
    expected = maps(predictor.predict(PIXELS))
    torch.set_default_dtype(torch.float64)
    try:
        found = open_run("tiny", runs=trained.runs, device="cpu").predict(PIXELS)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert (maps(found) == expected).all()
    with torch.device("meta"):
        assert (maps(open_run("tiny", runs=trained.runs, device="cpu").predict(PIXELS)) == expected).all()


def test_a_predictor_stays_in_its_process(predictor: Predictor) -> None:
    assert copy.deepcopy(predictor) is predictor
    with pytest.raises(RunError, match=r"cannot be sent to another process; call medalist\.open_run there"):
        pickle.dumps(predictor)


def test_a_pipe_is_not_waited_for(predictor: Predictor, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="not a file that can be read as an image"):
        predictor.predict(tmp_path / "pipe.png")


def test_an_unknown_channel_is_named(predictor: Predictor) -> None:
    prediction = predictor.predict(PIXELS)
    assert isinstance(prediction, MapPrediction)
    with pytest.raises(DataError, match="no channel 'bodi'; there are: body, border"):
        prediction.channel("bodi")


def test_runs_are_found_as_the_commands_find_them(trained: Toy, at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALIST_RUNS", str(trained.runs))
    assert repr(open_run("tiny", device="cpu")) == "<Predictor of toy_nuclei/tiny, folds 0, 1>"


def test_the_competition_is_found_beside_the_run_too(
    trained: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medalist.competition.shipped_folder", lambda name: None)
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    shutil.copytree(trained.runs, home / "runs")
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder = home / "runs" / "toy_nuclei" / "tiny"
    with pytest.raises(RunError, match=r"needs its competition: .*; work in the folder that has competitions/toy_nucl"):
        open_run(folder, device="cpu")
    shutil.copytree(PROJECT / "competitions" / "toy_nuclei", home / "competitions" / "toy_nuclei")
    assert maps(open_run(folder, device="cpu").predict(PIXELS)).shape == (2, 40, 52)


# --------------------------------------------------------------------------------------------------- identities


def test_images_are_embedded_as_the_command_does(whales: Identities) -> None:
    predictor = open_run(f"{whales.name}/tiny", runs=whales.runs, device="cpu", folds=[0])
    known = VectorStore(predictor.run.folder / "oof").read("fold0")
    contest = open_contest(whales.name, whales.data, whales.runs)
    images = {sample.id: sample.images[0] for sample in contest.split.train}
    paths = [images[name] for name in known.ids]
    vectors = predictor.embed(paths)
    assert vectors.dtype == np.float32 and vectors.shape == known.vectors.shape
    assert np.abs(vectors - known.vectors).max() < 1e-5
    one = predictor.predict(read_image(paths[0]))
    assert isinstance(one, VectorPrediction) and np.abs(one.vector - vectors[0]).max() < 1e-5
    assert predictor.embed(paths[0]).shape == (1, vectors.shape[1])
    assert predictor.embed([]).shape == (0, vectors.shape[1])


def test_answers_of_identities_come_from_the_runs_gallery(whales: Identities, medalist: Callable[..., Any]) -> None:
    predictor = open_run(f"{whales.name}/tiny", runs=whales.runs, device="cpu")
    contest = open_contest(whales.name, whales.data, whales.runs)
    images = contest.split.train[0].images[0].parent
    with pytest.raises(RunError, match=r"has no gallery .* medalist index build humpback_whale/tiny --gallery IMAGES"):
        predictor.answer(PIXELS)
    built = medalist("--runs", str(whales.runs), "index", "build", f"{whales.name}/tiny", "--gallery", str(images))
    assert built.code == 0, built
    asked = sorted(images.iterdir())[2]
    found = open_run(f"{whales.name}/tiny", runs=whales.runs, device="cpu").answer(asked)
    assert isinstance(found, Ranking) and found.confidence == pytest.approx(1, abs=1e-5)
    depth = contest.competition.retrieval.depth if contest.competition.retrieval else 0
    gallery = Gallery.open(predictor.run.folder / "gallery")
    assert len(found.names) == min(depth, len(gallery)) and asked.stem in found.names[0]
    with pytest.raises(RunError, match="was made by other networks than these; make it again"):
        open_run(f"{whales.name}/tiny", runs=whales.runs, device="cpu", folds=[0]).answer(asked)


# --------------------------------------------------------------------------------------------------- public names


def test_the_package_is_imported_without_torch() -> None:
    code = (
        "import sys, medalist\n"
        "assert sorted(set(medalist.__all__) - set(dir(medalist))) == []\n"
        "loaded = set(sys.modules)\n"
        "assert not {name for name in loaded if name.startswith('medalist.')}, loaded\n"
        "medalist.Index, medalist.F, medalist.load_competition, medalist.MedalistError\n"
        "medalist.codecs.rle.encode_mask, medalist.metrics.mean_dice, medalist.Predictor\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'open_rum'"):
        medalist.open_rum  # noqa: B018
