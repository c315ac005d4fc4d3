"""The nouns that every room shares: plain frozen values, NumPy inside, no pixels read, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One row of the contest, without pixels.

    `size` is (height, width) of the image as it is shown, that is after EXIF orientation.
    `annotation` is the contest's truth, still as text: RLE strings, or file names; empty for test samples.
    `group` is never split over folds (patient, car, field of view); `stratum` is balanced over them.
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
    """The samples of a contest: those with truth, those to be answered, and those that the answers may name.

    `gallery` is empty where answers are no samples, or name training samples.
    """

    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    gallery: tuple[Sample, ...] = ()

    @property
    def all(self) -> tuple[Sample, ...]:
        """All samples, train, test, then those of the gallery that do not ask as well."""
        asking = {sample.id: sample for sample in self.test}
        return (*self.train, *self.test, *(s for s in self.gallery if asking.get(s.id) != s))


@dataclass(frozen=True)
class RetrievalSplit:
    """Queries that are asked of a gallery, both by sample id. A sample may stand in both: it never answers itself."""

    queries: tuple[str, ...]
    gallery: tuple[str, ...]


@dataclass(frozen=True)
class Grouping:
    """Groups that were found, with the evidence: group by sample id, and (first id, second id, why) for each join."""

    group_of: Mapping[str, str]
    joins: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Mask:
    """One class for each pixel: `classes` is uint8[H, W]; 0 is background."""

    classes: NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.classes.shape[0], self.classes.shape[1]

    @property
    def count(self) -> int:
        """The number of objects that are told apart: none."""
        return 0


@dataclass(frozen=True, eq=False)
class Instances:
    """Objects that do not overlap: `labels` is int32[H, W]; 0 is background, objects are numbered 1..n without gaps."""

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

    Of a truth: the right names, in any order; none where the query has no answer in its gallery.
    `confidence` is how sure the first name is, for contests that compare it over queries; higher = surer.
    """

    names: tuple[str, ...]
    confidence: float | None = None

    @property
    def size(self) -> None:
        """It has no pixels."""

    @property
    def count(self) -> int:
        """The number of objects that are told apart: none."""
        return 0


@dataclass(frozen=True, eq=False)
class Labels:
    """The classes of a sample.

    names: the labels, each once; in an answer of a contest that ranks them the best first, else in the order of the
        contest's classes. Empty where a sample has none. A truth has its right labels; a grade of an ordinal contest is
        a label too.
    probabilities: float64[C], one for each of the contest's classes in their order. A truth has 1 for its labels and 0
        for the others where the contest asks for probabilities, and None where it asks for labels, as has an answer
        that was read back from a file of labels.
    """

    names: tuple[str, ...] = ()
    probabilities: NDArray[np.float64] | None = None

    @property
    def size(self) -> None:
        """It has no pixels."""

    @property
    def count(self) -> int:
        """The number of objects that are told apart: none."""
        return 0


Answer = Mask | Instances | Ranking | Labels
"""The final objects of one sample. Truth has the same types."""


@dataclass(frozen=True, eq=False)
class MapPrediction:
    """What networks say of each pixel of one image at its native size, before any threshold.

    `maps` is uint8[C, H, W]: probability 0..1 in steps of 1/255; `channels` names the C maps.
    """

    maps: NDArray[np.uint8]
    channels: tuple[str, ...]

    def channel(self, name: str) -> NDArray[np.float32]:
        """Return the probabilities float32[H, W] of one channel, in 0..1."""
        probability: NDArray[np.float32] = self.maps[self.channels.index(name)].astype("float32") / 255
        return probability


@dataclass(frozen=True, eq=False)
class VectorPrediction:
    """What networks say of one image as a unit vector float32[D], which is compared with others."""

    vector: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TablePrediction:
    """What networks say of one image in numbers: `values` is float32[C], one for each of the named columns.

    Columns are classes (probabilities in 0..1), or what a regression gives.
    """

    values: NDArray[np.float32]
    columns: tuple[str, ...]


Prediction = MapPrediction | VectorPrediction | TablePrediction
"""What networks say of one sample, before anything is decided. A store keeps predictions of one of these types."""


@dataclass(frozen=True)
class Score:
    """A metric's verdict; higher is better, always.

    `parts` are its components (by threshold, by class); `by_sample` has one value for each sample id,
    for the worst pictures and for paired comparisons.
    """

    value: float
    parts: Mapping[str, float]
    by_sample: Mapping[str, float]
