"""Which views of test-time augmentation help, by stored OOF maps of each view. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import yaml
from numpy.typing import NDArray

from medalist.engine.view_settings import TURNS, VIEWS, View, ViewConfig, views_of
from medalist.ensemble.blend import blend
from medalist.ensemble.greedy import Chosen, Gain, gain_of, greedy, judged
from medalist.records import Answer, MapPrediction, Score
from medalist.tasks.protocols import Table

Listed = tuple[str | ViewConfig, ...]

CANDIDATES: Listed = (
    *("hflip", "vflip", "rot180", "rot90", "rot270", "transpose", "transverse"),
    *(ViewConfig(scale=scale) for scale in (0.75, 1.25, 1.5)),
    ViewConfig(shift=16),
    ViewConfig(clahe=2.0),
)
"""The views that are tried where the user names none."""


def single_views(listed: Sequence[str | ViewConfig]) -> list[View]:
    """Return the views that a list names, each once, without the image as it is."""
    return [view for view in views_of(tuple(listed)) if view != View()]


def named(view: View) -> str | dict[str, object]:
    """Return what a list of `predict.tta` says of a view: a word, or a block."""
    turn = next(word for word, how in TURNS.items() if how == (view.turns, view.mirror))
    block: dict[str, object] = {} if turn == "none" else {"turn": turn}
    if view.scale != 1:
        block["scale"] = view.scale
    if view.shift:
        block["shift"] = view.shift
    if view.clahe is not None:
        block["clahe"] = view.clahe
    return turn if list(block) == ["turn"] else block


def typed(views: Sequence[View]) -> str:
    """Return these views as the value of `predict.tta`, as one types it."""
    if not views:
        return "none"
    for word in ("flips", "d4"):
        if set(views) == set(VIEWS[word]) - {View()}:
            return word
    return yaml.safe_dump([named(view) for view in views], default_flow_style=True, width=10_000).strip()


@dataclass(eq=False)
class Trial:
    """Scores of averaged views on OOF samples.

    ids: the samples. parts: int64[S], the part of each, which is judged by what others choose. views: the candidates.
    seconds: of the forward passes over all samples, of the image as it is and then of each candidate. read: (number of
    the view, 0 for the image as it is, id) -> its maps. decide: maps -> answer. score: answers by id -> score.
    """

    ids: tuple[str, ...]
    parts: NDArray[np.int64]
    views: tuple[View, ...]
    seconds: tuple[float, ...]
    read: Callable[[int, str], MapPrediction]
    decide: Callable[[MapPrediction], Answer]
    score: Callable[[Mapping[str, Answer]], Score]
    _known: dict[Chosen, Score] = field(default_factory=dict)

    def scored(self, chosen: Chosen) -> Score:
        """Return the score of the mean of the image as it is and these candidates; each choice is computed once."""
        if chosen not in self._known:
            # The mean of the rounded maps of views differs from the rounded mean by less than a step of 1/255.
            views = (0, *(number + 1 for number in chosen))
            answers = {name: self.decide(blend([self.read(view, name) for view in views])) for name in self.ids}
            self._known[chosen] = self.score(answers)
        return self._known[chosen]

    def by_sample(self, chosen: Chosen) -> NDArray[np.float64]:
        """Return the score of each sample, float64[S]."""
        found = self.scored(chosen).by_sample
        return np.array([found[name] for name in self.ids], np.float64)

    def gain(self, chosen: Chosen) -> Gain:
        """Return the gain over the image as it is, in the contest's metric; the error is over samples."""
        error = gain_of(self.by_sample(chosen), self.by_sample(())).error
        return Gain(self.scored(chosen).value - self.scored(()).value, error)

    def cost(self, chosen: Chosen) -> float:
        """Return the seconds of the image as it is and these candidates."""
        return self.seconds[0] + sum(self.seconds[number + 1] for number in chosen)


def tables(trial: Trial, configured: Sequence[View], run: str, scales: Sequence[float]) -> tuple[Table, ...]:
    """Return what was measured, as tables: each view, sets of views, and what to type.

    configured: the views of the run's config without the image as it is. run: its name for commands.
    """
    each = [_row(trial, (number,), str(typed([view]))) for number, view in enumerate(trial.views)]
    best = greedy(range(len(trial.views)), trial.by_sample, np.ones(len(trial.ids), np.bool_))
    sets: dict[str, Chosen] = {"proposed": best}
    for name, views in (("flips", VIEWS["flips"]), ("d4", VIEWS["d4"]), ("the config's", configured)):
        members = [view for view in views if view != View()]
        if members and all(view in trial.views for view in members):
            sets[name] = tuple(sorted(trial.views.index(view) for view in members))
    rows = [_row(trial, chosen, name) for name, chosen in sets.items()]
    columns = ("views", "score", "gain", "± samples", "seconds", "times")
    base = ("none", f"{trial.scored(()).value:.4f}", "", "", f"{trial.cost(()):.1f}", "1.0")
    proposal = typed([trial.views[number] for number in best])
    return (
        Table("the image as it is, averaged with one view", columns, (base, *each)),
        Table("averaged with several views", columns, tuple(rows), _lines(trial, best, proposal, run, scales)),
    )


def _row(trial: Trial, chosen: Chosen, name: str) -> tuple[str, ...]:
    gain, cost = trial.gain(chosen), trial.cost(chosen)
    value = trial.scored(chosen).value
    times = cost / trial.cost(()) if trial.cost(()) else 1.0
    return (name, f"{value:.4f}", f"{gain.mean:+.4f}", f"{gain.error:.4f}", f"{cost:.1f}", f"{times:.1f}")


def _lines(trial: Trial, best: Chosen, proposal: str, run: str, scales: Sequence[float]) -> tuple[str, ...]:
    if not best:
        proposed = "no view gains more than its standard error: the image as it is suffices"
    else:
        proposed = "a view was added while it gained more than its standard error"
    lines = [f"proposed, {proposed}: {proposal}", *_honest(trial)]
    kept = "" if tuple(scales) == (1.0,) else f", scales: {list(scales)}"
    lines.append(f"config line: predict: {{tta: {proposal}{kept}}}")
    lines.append(f"to predict with it: medalist predict {run} --split oof {_quoted(f'predict.tta={proposal}')}")
    return tuple(lines)


def _honest(trial: Trial) -> list[str]:
    """Return a line with the gain of a set that was chosen on other samples, where the metric is a mean of samples."""
    base = trial.by_sample(())
    if abs(base.mean() - trial.scored(()).value) > 1e-9:
        return ["the set was chosen on the samples that it is scored on, so its gain is too good"]
    if len(np.unique(trial.parts)) < 2:
        return ["the set was chosen on the samples that it is scored on, and all are one group: its gain is too good"]
    found = gain_of(judged(range(len(trial.views)), trial.by_sample, trial.parts), base)
    parts = len(np.unique(trial.parts))
    return [
        f"honest gain, each of {parts} parts with the set chosen on the others: {found.mean:+.4f} ± {found.error:.4f}"
    ]


def _quoted(word: str) -> str:
    return word if word.replace("=", "").replace(".", "").replace("_", "").isalnum() else f"'{word}'"
