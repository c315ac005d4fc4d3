"""The file `export.json` of an exported network: all that a program has to do before and after the network.

It is read without pydantic, and every value is checked, because a folder may come from somebody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from medalist.data.placing import unit_factor
from medalist.data.preparing import Preparation
from medalist.errors import RunError
from medalist.files import read_json, refuse_newer

FORMAT = "medalist export 1"
"""The format of the file. A higher number means that a newer version wrote it."""

FILE = "export.json"

Form = Literal["maps", "table", "vector", "boxes"]
"""The type of what the networks predict: MapPrediction, TablePrediction, VectorPrediction or BoxPrediction."""

Size = tuple[int, int]
"""(height, width)."""

MOST_SIDE = 65_536
MOST_FOLDS = 1_000


@dataclass(frozen=True)
class Turned:
    """One view of an image: this many quarter turns against the clock, and then mirrored along its width or not."""

    turns: int = 0
    mirror: bool = False


@dataclass(frozen=True)
class Tiled:
    """The tiles of large images, see `data.tiling.TileRule`."""

    size: int
    overlap: int
    window: Literal["gaussian", "pyramid", "flat"]


@dataclass(frozen=True)
class BoxRules:
    """How the outputs of a detector become boxes.

    frame: (height, width) of the network's images. fill: the value around a smaller image. keeps: whether an image that
    is smaller than the frame keeps its size, and is not enlarged. levels: the number of places
    of each level. floor, most, doubles: as `tasks.detect.decoding.Limits`. slices: size, overlap, cover, iou and touch
    of the slices of large images (`postprocess.box_settings.SlicesConfig`); None sees each image as a whole.
    """

    frame: Size
    fill: int
    keeps: bool
    levels: tuple[int, ...]
    floor: float
    most: int
    doubles: float | None
    slices: Mapping[str, float] | None = None

    def factor(self, native: Size) -> float:
        """Return the factor of `data.placing.fitted` for an image, or a slice, of (height, width) `native`."""
        return min(1.0, unit_factor(native, self.frame)) if self.keeps else 1.0


@dataclass(frozen=True)
class Described:
    """What `export.json` says.

    run: the run's name. kind: the kind of contest. form: the type of a prediction. model: the file with the network,
    and sha256 its hash. folds: whose networks are in the file. outputs: the names of a network's outputs; those of fold
    3 are `<name>3`. The last are what predictions are made from; the first is before the activation, where there is
    one. columns: the channels of maps, the names of the numbers of a table, or the classes of boxes. prepare: what is
    done to a decoded image. crop: the size of the middle that is cut out of a prepared image; None takes all of it.
    gray: whether it is then made gray. multiple: its sides are padded to multiples of this by mirroring. tile: images
    with a larger side are predicted tile by tile; None predicts all images whole. views: the predictions of all views
    are averaged (boxes are joined). boxes: only for the form `boxes`. decide: how a prediction becomes an answer, as
    the kind wrote it; None where it cannot be done without the run, and `undecided` says why. facts: what made the
    file, and what the gate measured; no program needs them.
    """

    run: str
    kind: str
    form: Form
    model: str
    sha256: str
    folds: tuple[int, ...]
    outputs: tuple[str, ...]
    columns: tuple[str, ...]
    prepare: Preparation
    crop: Size | None = None
    gray: bool = False
    multiple: int = 1
    tile: Tiled | None = None
    views: tuple[Turned, ...] = (Turned(),)
    boxes: BoxRules | None = None
    decide: Mapping[str, Any] | None = None
    undecided: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the content of `export.json`."""
        return {"format": FORMAT, **asdict(self)}


def read_description(folder: Path) -> Described:
    """Read a folder's `export.json`. Raises RunError where it is missing, damaged, or of a newer version."""
    path = folder / FILE
    if not path.is_file():
        raise RunError(f"{folder} is no export: {FILE} is missing; write one: medalist export RUN -o {folder}")
    value = read_json(path)
    refuse_newer(value, path, FORMAT)
    try:
        return _described(value)
    except (TypeError, ValueError, LookupError) as error:
        said = " ".join(str(error).split())[:120]
        raise RunError(f"{path} is damaged ({said}); write it again with medalist export") from None


def _described(value: Any) -> Described:
    form, folds, prepare = value["form"], _numbers(value["folds"], 0, 10**6), value["prepare"]
    if value["format"] != FORMAT or form not in get_args(Form):
        raise ValueError(f"format {value['format']!r:.40}, form {form!r:.40}")
    if not 1 <= len(folds) <= MOST_FOLDS or len(set(folds)) < len(folds):
        raise ValueError(f"folds {value['folds']!r:.40}")
    model = _text(value["model"])
    if Path(model).name != model:  # a name such as ../x would read another file than the folder's
        raise ValueError(f"model {model!r:.40}")
    boxes = value["boxes"]
    if (boxes is not None) != (form == "boxes"):
        raise ValueError("boxes")
    columns = _texts(value["columns"])
    if form in ("maps", "table") and not columns:
        raise ValueError("columns")
    views = tuple(Turned(_whole(one["turns"], 0, 3), _flag(one["mirror"])) for one in value["views"])
    if not views:
        raise ValueError("views")
    decide, facts = value["decide"], value["facts"]
    if not isinstance(facts, dict) or not (decide is None or isinstance(decide, dict)):
        raise TypeError("decide or facts")
    return Described(
        run=_text(value["run"]),
        kind=_text(value["kind"]),
        form=form,
        model=model,
        sha256=_text(value["sha256"]),
        folds=folds,
        outputs=_texts(value["outputs"]),
        columns=columns,
        prepare=_preparation(prepare),
        crop=_size(value["crop"]),
        gray=_flag(value["gray"]),
        multiple=_whole(value["multiple"], 1, MOST_SIDE),
        tile=None if value["tile"] is None else _tile(value["tile"], value["multiple"]),
        views=views,
        boxes=None if boxes is None else _boxes(boxes),
        decide=decide,
        undecided=_text(value["undecided"]),
        facts=facts,
    )


def _preparation(value: Any) -> Preparation:
    if value["fit"] not in ("squash", "pad", "crop"):
        raise ValueError(f"fit {value['fit']!r:.40}")
    return Preparation(
        invert=_flag(value["invert"]),
        stretch=_flag(value["stretch"]),
        trim=None if value["trim"] is None else _real(value["trim"], 0.01, 1),
        fill=_whole(value["fill"], 0, 255),
        fit=value["fit"],
        size=_size(value["size"]),
    )


def _tile(value: Any, multiple: int) -> Tiled:
    size, window = _whole(value["size"], 1, MOST_SIDE), value["window"]
    if window not in ("gaussian", "pyramid", "flat") or size % multiple:
        raise ValueError("tile")
    return Tiled(size, _whole(value["overlap"], 0, size - 1), window)


def _boxes(value: Any) -> BoxRules:
    frame, slices = _size(value["frame"]), value["slices"]
    if frame is None:
        raise ValueError("frame")
    if slices is not None:
        slices = {name: _real(slices[name], 0, 10**6) for name in ("size", "overlap", "cover", "iou", "touch")}
        slices |= {name: int(slices[name]) for name in ("size", "overlap")}
        if not 0 <= slices["overlap"] < slices["size"]:
            raise ValueError("slices")
    return BoxRules(
        frame=frame,
        fill=_whole(value["fill"], 0, 255),
        keeps=_flag(value["keeps"]),
        levels=_numbers(value["levels"], 0, 10**8),
        floor=_real(value["floor"], 0, 1),
        most=_whole(value["most"], 1, 10**6),
        doubles=None if value["doubles"] is None else _real(value["doubles"], 0, 1),
        slices=slices,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.40} is no list")
    return tuple(map(_text, value))


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.40} is neither true nor false")
    return value


def _whole(value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{value!r:.40} is no whole number in {least}..{most}")
    return value


def _real(value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{value!r:.40} is no number in {least}..{most}")
    return float(value)


def _numbers(value: Any, least: int, most: int) -> tuple[int, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no list")
    return tuple(_whole(one, least, most) for one in value)


def _size(value: Any) -> Size | None:
    if value is None:
        return None
    height, width = _numbers(value, 1, MOST_SIDE)
    return height, width
