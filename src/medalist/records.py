"""The types that every room shares: frozen values that hold NumPy arrays. They read no files and need no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medalist.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One row of the contest, without pixels.

    `size` is (height, width) of the image as it is shown, that is after EXIF orientation.
    `annotation` is the contest's truth, still as text: RLE strings, or file names. Test samples have none.
    Samples of one `group` (patient, car, field of view) share a fold. Each `stratum` is spread evenly over folds.
    """

    id: str
    images: tuple[Path, ...]
    size: tuple[int, int]
    annotation: tuple[str, ...] = ()
    group: str | None = None
    stratum: str | None = None
    meta: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """The samples of a contest: `train` has truths, `test` is to be answered, `gallery` may be named by answers.

    `gallery` is empty where answers do not name samples, or name training samples.
    """

    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    gallery: tuple[Sample, ...] = ()

    @property
    def all(self) -> tuple[Sample, ...]:
        """All samples: train, then test, then the samples of the gallery that are not test samples too."""
        asking = {sample.id: sample for sample in self.test}
        return (*self.train, *self.test, *(s for s in self.gallery if asking.get(s.id) != s))


@dataclass(frozen=True)
class RetrievalSplit:
    """Queries and the gallery they are asked of, both as sample ids. A sample in both is never a hit of itself."""

    queries: tuple[str, ...]
    gallery: tuple[str, ...]


@dataclass(frozen=True)
class Grouping:
    """Groups that were found, with the evidence.

    group_of: group by sample id. joins: (first id, second id, reason) for each pair of samples that was joined.
    """

    group_of: Mapping[str, str]
    joins: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Mask:
    """One class for each pixel.

    classes: uint8[H, W], the numbers of the classes. 0 is background, or the first class where a contest has none.
    void: bool[H, W], true for pixels that the contest does not judge; None where it judges all. Void pixels weigh
        nothing in losses, metrics and reports. Only truths have them; their `classes` are 0 there.
    """

    classes: NDArray[np.uint8]
    void: NDArray[np.bool_] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.classes.shape[0], self.classes.shape[1]

    @property
    def count(self) -> int:
        """The number of separate objects; always 0 for this type."""
        return 0


@dataclass(frozen=True, eq=False)
class Instances:
    """Objects that do not overlap: `labels` is int32[H, W]; 0 is background, objects have the numbers 1..n, no gaps."""

    labels: NDArray[np.int32]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def count(self) -> int:
        """The number of objects."""
        return int(self.labels.max(initial=0))


@dataclass(frozen=True)
class Ranking:
    """Names, the best first, each once: ids of gallery samples, or identities, as the contest asks.

    In a truth, `names` are the right names in any order; it is empty where the gallery has no right name for the query.
    `confidence` says how sure the first name is, for contests that compare it over queries; higher = surer.
    """

    names: tuple[str, ...]
    confidence: float | None = None

    @property
    def size(self) -> None:
        """None, because this answer has no pixels."""

    @property
    def count(self) -> int:
        """The number of separate objects; always 0 for this type."""
        return 0


@dataclass(frozen=True, eq=False)
class Labels:
    """The classes of a sample.

    names: the labels, each once. Where the contest ranks labels, an answer has the best first; else they are in the
        order of the contest's classes. Empty where a sample has no label. In a truth they are the right labels. A grade
        of an ordinal contest is a label too.
    probabilities: float64[C], one for each of the contest's classes in their order. Where the contest asks for
        probabilities, a truth has 1 for its labels and 0 for the others. Where it asks for labels, a truth has None,
        and so does an answer that was read back from a file of labels.
    """

    names: tuple[str, ...] = ()
    probabilities: NDArray[np.float64] | None = None

    @property
    def size(self) -> None:
        """None, because this answer has no pixels."""

    @property
    def count(self) -> int:
        """The number of separate objects; always 0 for this type."""
        return 0


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of objects, each with its class and its score. They may overlap.

    xyxy: float32[N, 4], the corners (x1, y1, x2, y2) in pixels as continuous coordinates: the first pixel reaches from
        0 to 1, and a box around all pixels is (0, 0, width, height). x1 < x2 and y1 < y2.
    labels: int32[N], the places of the classes in the contest's list, from 0. The background is no class.
    scores: float32[N] in 0..1, higher = surer; 1 in truths, unless the contest says how sure its annotators were.
    ignored: bool[N], true for boxes of a truth that the contest does not judge (crowds, difficult ones): they need not
        be found, and finding them is no fault. None where all are judged. Answers have none.
    """

    xyxy: NDArray[np.float32]
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    ignored: NDArray[np.bool_] | None = None

    @property
    def size(self) -> None:
        """None, because boxes do not say how large their image is."""

    @property
    def count(self) -> int:
        """The number of boxes."""
        return len(self.labels)


Answer = Mask | Instances | Ranking | Labels | Boxes
"""The final objects of one sample. A truth has one of these types too."""


@dataclass(frozen=True, eq=False)
class MapPrediction:
    """Probabilities of each pixel of one image at its native size, as networks predict them, before any threshold.

    `maps` is uint8[C, H, W]: probability 0..1 in steps of 1/255; `channels` names the C maps.
    """

    maps: NDArray[np.uint8]
    channels: tuple[str, ...]

    def channel(self, name: str) -> NDArray[np.float32]:
        """Return the probabilities float32[H, W] of one channel, in 0..1; ValueError where there is no such channel."""
        if name not in self.channels:
            raise DataError(f"no channel '{name}'; there are: {', '.join(self.channels)}")
        probability: NDArray[np.float32] = self.maps[self.channels.index(name)].astype("float32") / 255
        return probability


@dataclass(frozen=True, eq=False)
class VectorPrediction:
    """The unit vector float32[D] that networks predict for one image. It is compared with other vectors."""

    vector: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TablePrediction:
    """The numbers that networks predict for one image: `values` is float32[C], one for each of the named columns.

    The columns are classes (probabilities in 0..1), or the outputs of a regression.
    """

    values: NDArray[np.float32]
    columns: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class BoxPrediction:
    """Boxes that networks predict for one image, before doubles are removed and scores are cut.

    xyxy: float32[N, 4] and labels: int32[N] as those of `Boxes`. scores: float32[N] in 0..1.
    source: int16[N], the number of the network and view that said a box, in 0..sources - 1. Boxes of several sources
        are fused when answers are decided, which has to know how many sources there were.
    sources: the number of networks times views.
    masks: uint8[N, M, M], the probability 0..1, in steps of 1/255, that the object is there, in M rows and columns of
        cells that fill its box; None of networks without masks.
    size: (height, width) of the image, where masks are known. Boxes with masks may reach out of the image.
    """

    xyxy: NDArray[np.float32]
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    source: NDArray[np.int16]
    sources: int = 1
    masks: NDArray[np.uint8] | None = None
    size: tuple[int, int] | None = None


Prediction = MapPrediction | VectorPrediction | TablePrediction | BoxPrediction
"""What networks predict for one sample, before any threshold. A store keeps predictions of one of these types."""


@dataclass(frozen=True)
class Score:
    """The result of a metric. Higher is always better.

    `parts` are its components (by threshold, by class). `by_sample` has one value for each sample id: the report shows
    the worst samples by it, and runs are compared in pairs by it.
    """

    value: float
    parts: Mapping[str, float]
    by_sample: Mapping[str, float]
