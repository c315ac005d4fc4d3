"""An exported network as a value: images in, predictions or answers out, without torch and pandas."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from medalist.deploy.description import Described, read_description
from medalist.deploy.forms import predict_maps, predict_table, predict_vector
from medalist.deploy.sessions import Runner, open_runner
from medalist.errors import DataError, RunError
from medalist.records import Answer, Prediction


@dataclass(frozen=True, eq=False, repr=False)
class Deployed:
    """The networks of an export. `Deployed.open` makes it; several threads may use it at once.

    described: what `export.json` says. runner: the network.
    """

    described: Described
    runner: Runner

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, threads: int = 0, device: str = "cpu") -> Deployed:
        """Open a folder that `medalist export RUN -o FOLDER` wrote.

        threads: of one prediction; 0 takes a thread for each processor. device: `cpu`, or `cuda` where this onnxruntime
        has it. Raises RunError where the folder is no export, or where its files were changed.
        """
        path = Path(folder)
        described = read_description(path)
        return cls(described, open_runner(path, described, threads, device))

    def __repr__(self) -> str:
        return f"<Deployed {self.described.run}, folds {', '.join(map(str, self.described.folds))}>"

    def predict(self, image: NDArray[np.uint8], folds: Sequence[int] | None = None) -> Prediction:
        """Return the prediction of an image uint8[H, W, 3] (red, green, blue), as `medalist.open_run` gives it.

        folds: whose networks predict together; default: all that are in the export. Raises DataError for what is no
        such image.
        """
        pixels, chosen = checked(image), self._chosen(folds)
        match self.described.form:
            case "maps":
                return predict_maps(self.runner, self.described, chosen, pixels)
            case "table":
                return predict_table(self.runner, self.described, chosen, pixels)
            case "vector":
                return predict_vector(self.runner, self.described, chosen, pixels)
            case "boxes":
                from medalist.deploy.boxes import predict_boxes  # here, because other forms need no rules of boxes

                return predict_boxes(self.runner, self.described, chosen, pixels)
            case _:
                assert_never(self.described.form)

    def answer(self, image: NDArray[np.uint8], folds: Sequence[int] | None = None) -> Answer:
        """Return the answer to an image, decided as the run was scored when it was exported.

        Raises RunError where the decision needs more than the export has, as a gallery.
        """
        return self.decide(self.predict(image, folds))

    @cached_property
    def decide(self) -> Callable[[Prediction], Answer]:
        """The function that makes an answer from a prediction."""
        described = self.described
        if described.decide is None:
            raise RunError(f"the export of {described.run} predicts and does not answer: {described.undecided}")
        from medalist.kinds import decider_of  # here, because predictions need no settings

        return decider_of(described.kind)(described.decide)

    def _chosen(self, folds: Sequence[int] | None) -> tuple[int, ...]:
        there = self.described.folds
        chosen = there if folds is None else tuple(folds)
        if not chosen or not set(chosen) <= set(there):
            raise RunError(f"folds = {list(chosen)}; the export has the folds {', '.join(map(str, there))}")
        return chosen


def checked(image: Any) -> NDArray[np.uint8]:
    """Return an image uint8[H, W, 3] without gaps in memory. Raises DataError for anything else."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype}{list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"the image is {what}; give uint8[H, W, 3] in the order red, green, blue")
    if 0 in image.shape:
        raise DataError(f"the image has the shape {list(image.shape)}, without a pixel")
    return np.ascontiguousarray(image)
