"""Which views of an image are averaged (test-time augmentation): words of a config, and views as values. Torch-free.

`engine.views` shows an image in a view, and turns its maps back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from medalist.config import ConfigModel

Turn = Literal["none", "hflip", "vflip", "rot90", "rot180", "rot270", "transpose", "transverse"]
"""One of the eight symmetries of the square."""

ListedViews = Literal["hflip", "vflip", "rot90", "rot180", "rot270", "transpose", "transverse", "flips", "d4"]
"""What a list of views may name by one word: one turn, or all turns of a set."""

TURNS: dict[str, tuple[int, bool]] = {
    "none": (0, False),
    "hflip": (0, True),
    "vflip": (2, True),
    "rot90": (1, False),
    "rot180": (2, False),
    "rot270": (3, False),
    "transpose": (3, True),
    "transverse": (1, True),
}
"""Each turn as the number of quarter turns (against the clock), and whether the image is mirrored along its width after
them."""


@dataclass(frozen=True)
class View:
    """One way to show an image to a network.

    The steps, in this order: `clahe`, the clip limit of a local equalisation of contrast (None: none); `scale`,
    relative to the size of the image; `shift` by this many pixels down and right, with mirrored pixels before; `turns`,
    quarter turns; `mirror` along the width.
    """

    turns: int = 0
    mirror: bool = False
    scale: float = 1.0
    shift: int = 0
    clahe: float | None = None


VIEWS: dict[str, tuple[View, ...]] = {
    "none": (View(),),
    "mirror": (View(), View(0, True)),
    "flips": (View(), View(0, True), View(2), View(2, True)),
    "d4": tuple(View(turns, mirror) for turns in range(4) for mirror in (False, True)),
}
"""The views of each word that `predict.tta` may be."""


class ViewConfig(ConfigModel):
    """One view of the image in a list of views; several keys together are still one view."""

    turn: Turn = "none"
    """How it is turned or mirrored: `hflip` left for right, `vflip` top for bottom, `rot90 rot180 rot270` against the
    clock, `transpose` rows for columns, `transverse` the same along the other diagonal."""

    scale: float = Field(default=1.0, ge=0.1, le=8.0)
    """The size at which it is seen, relative to `predict.scales`."""

    shift: int = Field(default=0, ge=0, le=1024)
    """By how many pixels it is moved down and right, as the network sees it; mirrored pixels come before. The network
    then pools other pixels together."""

    clahe: float | None = Field(default=None, gt=0.0, le=100.0)
    """The clip limit of a local equalisation of contrast (CLAHE, 8 x 8 tiles, of the lightness); null is none. It acts
    on the padded 8-bit image, before it is scaled."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.view == View():
            raise ValueError("a view needs one of turn, scale, shift, clahe; the image as it is belongs to each list")
        return self

    @property
    def view(self) -> View:
        """The view as a value."""
        turns, mirror = TURNS[self.turn]
        return View(turns, mirror, self.scale, self.shift, self.clahe)


ListedView = Annotated[
    Annotated[ListedViews, Tag("word")] | Annotated[ViewConfig, Tag("view")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "view"),
]


Tta = Annotated[
    Annotated[Literal["none", "flips", "d4"], Tag("word")]
    | Annotated[tuple[ListedView, ...], Field(min_length=1), Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list | tuple) else "word"),
]
"""The views of a kind whose predictions are maps: a word, or a list of views."""


def views_of(tta: str | Sequence[str | ViewConfig], scales: Sequence[float] = (1.0,)) -> tuple[View, ...]:
    """Return the views that a config averages: each view of `tta` at each of `scales`.

    A word is one of VIEWS. A list has the image as it is, and the views that its items name, each once.
    """
    if isinstance(tta, str):
        views = VIEWS[tta]
    else:
        named = [view for one in tta for view in ((one.view,) if isinstance(one, ViewConfig) else _listed(one))]
        views = tuple(dict.fromkeys([View(), *named]))
    return tuple(replace(view, scale=scale * view.scale) for scale in scales for view in views)


def _listed(word: str) -> tuple[View, ...]:
    return VIEWS[word] if word in VIEWS else (View(*TURNS[word]),)


def work(views: Sequence[View]) -> float:
    """Return how many times the work of one view at native size these views are, by their pixels."""
    return sum(view.scale**2 for view in views)
