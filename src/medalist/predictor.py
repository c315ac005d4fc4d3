"""A trained run as a value in Python: `medalist.open_run` loads its networks once, and they predict any images."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard, cast, overload

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.images import image_kind
from medalist.competition import Competition, load_competition
from medalist.errors import ConfigError, DataError, RunError
from medalist.experiment import Experiment
from medalist.kinds import kind_of
from medalist.processors import collector_paused, keep_buffers, sleep_soon
from medalist.records import Answer, Prediction, VectorPrediction
from medalist.runs.runs import Run, find_run
from medalist.shipped import CONTESTS, own_folder
from medalist.workflows.score import changed_settings

if TYPE_CHECKING:
    from medalist.tasks.protocols import Networks, Predicting

Image = NDArray[np.uint8] | str | os.PathLike[str]
"""An image: uint8[H, W, 3] in the order red, green, blue, or the path of a PNG, JPEG or TIFF file."""


AT_ONCE = 32
"""Images of a list that are decoded and in memory at a time."""


@dataclass(frozen=True, eq=False, repr=False)
class Predictor:
    """The networks of a run's folds, loaded on one device. `open_run` makes it; several threads may use it at once.

    run: its folder. settings: its resolved config. folds: the folds whose networks predict together.
    """

    run: Run
    settings: Experiment
    folds: tuple[int, ...]
    _competition: Competition
    _predicting: Predicting
    _networks: Networks

    @property
    def competition(self) -> Competition:
        """The contest of the run, as a value."""
        return self._competition

    @property
    def networks(self) -> Networks:
        """The networks of the folds, on their device."""
        return self._networks

    def __deepcopy__(self, memo: object) -> Predictor:
        """Return this predictor: it never changes."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be sent to another process, which would cost more than to open the run there."""
        raise RunError(f"{self!r} cannot be sent to another process; call medalist.open_run there")

    def __repr__(self) -> str:
        folds = ", ".join(map(str, self.folds))
        return f"<Predictor of {self.run.competition}/{self.run.name}, folds {folds}>"

    @overload
    def predict(self, images: Image) -> Prediction: ...  # type: ignore[overload-overlap]  # a str is one path
    @overload
    def predict(self, images: Sequence[Image]) -> list[Prediction]: ...
    def predict(self, images: Image | Sequence[Image]) -> Prediction | list[Prediction]:
        """Return the prediction of an image, or of each image of a list, before any threshold.

        It is a MapPrediction at the size of the image, a TablePrediction or a VectorPrediction, as the run's kind has
        it; `settings.predict` says which views are averaged. Raises DataError for an image that cannot be used, with
        its place in the list.
        """
        if _is_one(images):
            return self._predicted([images], ("image",))[0]
        several = cast("Sequence[Image]", images)
        names = tuple(f"images[{place}]" for place in range(len(several)))
        return self._predicted(several, names)

    @overload
    def answer(self, images: Image) -> Answer: ...  # type: ignore[overload-overlap]  # a str is one path
    @overload
    def answer(self, images: Sequence[Image]) -> list[Answer]: ...
    def answer(self, images: Image | Sequence[Image]) -> Answer | list[Answer]:
        """Return the answer to an image, or to each image of a list, decided as the run's last score was.

        It is a Mask, Instances or Labels. For runs of identities it is a Ranking of the ids in the run's gallery, with
        the best cosine as its confidence. Raises DataError as `predict` does, and RunError where the answer needs
        something that the run has not, such as tuned thresholds or a gallery.
        """
        decide = self._decide
        if _is_one(images):
            return decide(self.predict(images))
        return [decide(one) for one in self.predict(cast("Sequence[Image]", images))]

    def embed(self, images: Image | Sequence[Image]) -> NDArray[np.float32]:
        """Return the unit vectors float32[N, D] of images; one image gives one row.

        Raises RunError where the run's networks make no vectors, and DataError as `predict` does.
        """
        if not self.embeds:
            raise RunError(f"{self.run.folder} makes no embeddings; use predict or answer")
        several = [images] if _is_one(images) else cast("Sequence[Image]", images)
        found = self.predict(several)
        vectors = [one.vector for one in found if isinstance(one, VectorPrediction)]
        return np.stack(vectors) if vectors else np.empty((0, self._dim), np.float32)

    @property
    def embeds(self) -> bool:
        """Whether the run's networks make vectors."""
        return kind_of(self.settings).embedding is not None

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Return the image of a file, uint8[H, W, 3], as `predict` reads it. Raises DataError as `predict` does."""
        return self._pixels(path, "image")

    @cached_property
    def _decide(self) -> Callable[[Prediction], Answer]:
        return self._predicting.decider(self.run, self.settings, self._competition, self.folds)

    @cached_property
    def _dim(self) -> int:
        """Components of a vector, found out by an image of zeros."""
        found = self.predict(np.zeros((32, 32, 3), np.uint8))
        assert isinstance(found, VectorPrediction)
        return len(found.vector)

    def _predicted(self, images: Sequence[Image], names: Sequence[str]) -> list[Prediction]:
        from medalist.data.items import prepared

        found: list[Prediction] = []
        for start in range(0, len(images), AT_ONCE):
            part = zip(names[start : start + AT_ONCE], images[start : start + AT_ONCE], strict=True)
            ready = [prepared(self._pixels(image, name), self.settings.image) for name, image in part]
            found += self._networks.predict(ready)
        return found

    def _pixels(self, image: Image, name: str) -> NDArray[np.uint8]:
        if isinstance(image, (str, os.PathLike)):
            try:
                self._refuse_depth(Path(image))
                return self._competition.image(Path(image))
            except DataError as error:
                raise DataError(str(error) if name == "image" else f"{name}: {error}") from error
        return _checked(image, name, self._competition.white)

    def _refuse_depth(self, path: Path) -> None:
        """Raise DataError for a file with another bit depth than the training had; note gray in place of colour."""
        known = self._kinds
        if not known:
            return
        kind = image_kind(path)
        if kind in known:
            return
        told = f"{path} is {kind} a channel, and {self.run.name} was trained on {' and '.join(known)}"
        if all(kind.split(", ")[1] != one.split(", ")[1] for one in known):
            raise DataError(
                f"{told}; if it is to be scaled to 8 bits, type medalist.codecs.images.read_image(path, white=...) "
                "with the value that is shown as white, and give the array"
            )
        warnings.warn(f"{told}: its prediction may be worse", stacklevel=5)

    @cached_property
    def _kinds(self) -> tuple[str, ...]:
        return self.run.lock().images


def open_run(
    name: str | os.PathLike[str],
    *,
    runs: str | os.PathLike[str] | None = None,
    folds: Sequence[int] | None = None,
    device: str = "auto",
    precision: str | None = None,
    changes: Sequence[str] = (),
) -> Predictor:
    """Load the networks of a run, so that they can predict images.

    name: the run's folder, `COMPETITION/RUN`, or its name where only one competition has it. runs: the folder of all
    runs; default: $MEDALIST_RUNS, else `runs`. folds: the folds whose networks predict together; default: all that are
    trained. device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`. precision: `32-true`, `bf16-mixed` or `16-mixed`; default:
    that of the training. changes: `predict.*` settings as on the command line, such as `predict.tta=none`.

    Raises RunError where there is no such run or no trained fold, and ConfigError for wrong settings. In this process
    glibc then keeps freed memory, and OpenMP threads that wait sleep soon (`medalist.processors`).
    """
    sleep_soon()
    keep_buffers()
    # The whole path, because the working folder may change later.
    run = Run(_found(name, runs if runs is not None else os.environ.get("MEDALIST_RUNS") or "runs").folder.resolve())
    settings = changed_settings(run, [changes] if isinstance(changes, str) else list(changes), "predict")
    chosen = _chosen(run, folds)
    competition = _competition(run, settings)
    predicting = kind_of(settings).predicting
    if predicting is None:
        raise RunError(f"{run.folder}: runs of task.kind = {settings.task.kind} predict no single images")
    kind = predicting()
    networks = _loaded(kind, run, settings, competition, chosen, device, precision)
    return Predictor(run, settings, chosen, competition, kind, networks)


def _found(name: object, runs: object) -> Run:
    """The run with this name; RunError also for what is no name."""
    for what, value in (("name", name), ("runs", runs)):
        if not isinstance(value, (str, os.PathLike)):
            raise RunError(f"{what} = {value!r:.80}; type COMPETITION/RUN, or the path of its folder")
    try:
        return find_run(os.fsdecode(name), Path(os.fsdecode(runs)))  # type: ignore[arg-type]  # checked above
    except (OSError, ValueError) as error:
        raise RunError(f"no run {str(name)[:80]!r}: {error}") from None


def _chosen(run: Run, folds: Sequence[int] | None) -> tuple[int, ...]:
    """The folds whose networks predict; RunError for those that are not trained, and for what is no list of numbers."""
    trained = run.trained_folds()
    try:
        chosen = tuple(trained) if folds is None else tuple(dict.fromkeys(map(index, folds)))
    except TypeError:
        raise RunError(f"folds = {folds!r:.80}; type a list of numbers, such as folds=[0]") from None
    if not trained:
        raise RunError(f"{run.folder} has no trained fold; run medalist train first")
    if not chosen or not set(chosen) <= set(trained):
        raise RunError(f"folds = {list(chosen)}; {run.folder} has the trained folds {', '.join(map(str, trained))}")
    return chosen


@collector_paused()
def _loaded(
    kind: Predicting,
    run: Run,
    settings: Experiment,
    competition: Competition,
    folds: Sequence[int],
    device: str,
    precision: str | None,
) -> Networks:
    import torch

    from medalist.engine.placement import DevicePlacement, find_device, find_precision

    precision = settings.train.precision if precision is None else precision
    place = DevicePlacement(find_device(device), find_precision(precision))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # the user may have set another type, or another device
    try:
        # Networks are made with random weights, and the user's generator stays.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            return kind.open_networks(run, settings, competition, folds, place)
    finally:
        torch.set_default_dtype(before)


def _competition(run: Run, settings: Experiment) -> Competition:
    """The competition by the working folder, else by the run's own folder; RunError where neither has it."""
    try:
        return load_competition(settings.competition)
    except ConfigError as error:
        beside = own_folder(CONTESTS, run.folder)
        try:
            if beside is not None:
                return load_competition(settings.competition, beside)
        except ConfigError:
            pass
        raise RunError(
            f"{run.folder} needs its competition: {error}; work in the folder that has "
            f"{CONTESTS}/{settings.competition.partition('.')[0]}"
        ) from None


def _is_one(images: Image | Sequence[Image]) -> TypeGuard[Image]:
    """Whether this is one image (also what is no image at all), and no list of them."""
    return not isinstance(images, (list, tuple))


def _checked(image: Any, name: str, white: int) -> NDArray[np.uint8]:
    """Return an array that is an image as networks take them; DataError says what else it is, and what to type."""
    if not isinstance(image, np.ndarray):
        several = "list(images) for several, or " if isinstance(image, Iterable) else ""
        raise DataError(
            f"{name} is of type {type(image).__name__}; give a path, {several}numpy.asarray(image) as uint8[H, W, 3] "
            "in RGB order"
        )
    shape = "x".join(map(str, image.shape))
    if image.ndim == 4:
        raise DataError(f"{name} is an array of {shape}; give several images as a list: list(images)")
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise DataError(
            f"{name} is gray ({shape}) and the networks see RGB; type numpy.repeat(image.reshape(*image.shape[:2], 1), "
            "3, axis=2)"
        )
    if image.ndim == 3 and image.shape[2] == 4:
        raise DataError(f"{name} has four channels ({shape}); leave alpha out: image[..., :3]")
    if image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        raise DataError(f"{name} has its channels first ({shape}); type image.transpose(1, 2, 0)")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"{name} has the shape {shape or 'of a number'}; an image is uint8[H, W, 3] in RGB order")
    if image.dtype == np.uint16:
        raise DataError(
            f"{name} has 16 bits a channel; type (image.clip(0, {white}) * (255 / {white})).round().astype(numpy.uint8)"
        )
    if image.dtype != np.uint8:
        raise DataError(f"{name} is {image.dtype}, and an image is uint8 in 0..255; {_to_8_bits(image)}")
    return np.ascontiguousarray(image)


def _to_8_bits(image: NDArray[Any]) -> str:
    """What to type for an array of another type, by its values."""
    if image.dtype == bool:
        return "type image.astype(numpy.uint8) * 255"
    if image.dtype.kind not in "iuf" or not np.isfinite(image).all():
        return "this array holds values that are no such numbers"
    low, high = image.min(), image.max()
    if low >= 0 and high <= 1 and image.dtype.kind == "f":
        return "type (image * 255).round().astype(numpy.uint8)"
    if low >= 0 and high <= 255:
        return "type image.round().astype(numpy.uint8)"
    return f"its values reach from {low:g} to {high:g}"
