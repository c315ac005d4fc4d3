"""Gather the data of a segmentation run's report from its maps and scores, and draw its pictures. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from medalist.config import OwnConfig
from medalist.contest import Contest
from medalist.files import sha256_json
from medalist.records import MapPrediction, Mask, Sample
from medalist.report.page import RunReport, SamplePicture, extremes
from medalist.report.pictures import Picture, joined, panels, shows_nothing, side_by_side
from medalist.report.zoom import LETTERS, heat, holds, window_around, with_frames
from medalist.runs.runs import Run
from medalist.stores.maps import MapStore
from medalist.tasks.protocols import Oof, WorstSample
from medalist.tasks.scored import scored_decide
from medalist.tasks.segment.answering import made_by
from medalist.tasks.segment.deciding import has_second_stage
from medalist.tasks.segment.objects import Compared, Flaw, compared, flaws, totals, wrong_pixels
from medalist.tasks.segment.page import SegmentationReport, write_segmentation_report
from medalist.tasks.segment.settings import SegmentDecide, SegmentSettings
from medalist.tasks.segment.thresholds import decided_channel, swept

WIDE = 1.5
"""Images that are this many times wider than high have two panels in a row, others have all in one row."""
SIDE, WIDE_SIDE, DETAIL_SIDE = 448, 640, 320
"""Longer side of a panel, in pixels: of whole images, of wide images, and of an enlarged place."""
MOST_DETAILS = 2
"""Enlarged places of one image at most."""


@dataclass(frozen=True, eq=False)
class StoredMaps:
    """The maps of a run that its score was made from.

    decided: the map that is compared with the threshold. files: the hashes of their files, by name.
    """

    store: MapStore
    channels: tuple[str, ...]
    decided: str
    files: Mapping[str, str] = field(default_factory=dict)

    def read(self, name: str) -> MapPrediction:
        """Return the maps of a sample."""
        return self.store.read(name, self.channels, self.files)

    def probability(self, name: str) -> NDArray[np.float32]:
        """Return float32[H, W], the map that is compared with the threshold."""
        return self.read(name).channel(self.decided)


def worst(run: Run, contest: Contest, oof: Oof) -> list[WorstSample]:
    """Return the samples with the lowest scores, the worst first, without those that are empty in truth and answer."""
    folds = run.folds()
    by_id = {sample.id: sample for sample in oof.samples}
    wrong = {name: wrong_pixels(oof.truths[name], oof.answers[name]) for name in by_id}
    return [
        WorstSample(
            name,
            folds.fold_of(name),
            by_id[name].stratum or "",
            oof.score.by_sample[name],
            "",
            "",
            side_by_side(_image(contest, by_id[name]), oof.truths[name], oof.answers[name]),
        )
        for name in _told(oof, wrong)[0]
    ]


def write_page(path: Path, run: Run, contest: Contest, settings: SegmentSettings, oof: Oof, page: RunReport) -> None:
    """Write the report: objects by size, the score by threshold, and pictures of the worst and the best samples."""
    how: SegmentDecide = scored_decide(run, TypeAdapter(SegmentDecide), settings.decide)
    maps = _scored_maps(run, contest, settings, how, page)
    found = {sample.id: compared(oof.truths[sample.id], oof.answers[sample.id]) for sample in oof.samples}
    lowest, best = _told(oof, {name: one.wrong for name, one in found.items()})
    by_id, folds = {sample.id: sample for sample in oof.samples}, run.folds()
    sweeps = []
    # What a decision of the contest's own folder compares is unknown, and a second stage is trained for its thresholds.
    if isinstance(maps, StoredMaps) and not isinstance(how, OwnConfig) and not has_second_stage(how):
        score = contest.competition.score
        sweeps = swept(how, oof.samples, oof.truths, folds.fold_of, maps.read, score)

    def drawn(names: Sequence[str], details: int) -> list[SamplePicture]:
        return [_picture(contest, oof, by_id[name], folds.fold_of(name), found[name], maps, details) for name in names]

    report = SegmentationReport(
        page.with_pictures(drawn(lowest, MOST_DETAILS), drawn(best, 0)),
        totals(found.values()),
        any(isinstance(truth, Mask) for truth in oof.truths.values()),
        sum(_nothing(oof, name) for name in found),
        sweeps,
        maps if isinstance(maps, str) else "",
    )
    write_segmentation_report(path, report)


def _scored_maps(
    run: Run, contest: Contest, settings: SegmentSettings, how: SegmentDecide, page: RunReport
) -> StoredMaps | str:
    """Return the maps that the score was made from, or why they cannot be shown, as a sentence."""
    scored = page.scores.get("predictions") or {}
    for fold in page.scores["oof"]["folds"]:
        made = made_by(run, contest, f"oof/fold{fold}")
        if made is None or scored.get(f"fold{fold}") != sha256_json(dict(made)):
            again = f"run medalist score {run.competition}/{run.name} again"
            return f"The stored predictions of fold {fold} are not those that were scored; to see thresholds, {again}."
    channels = settings.model.channels
    decided = channels[0] if isinstance(how, OwnConfig) else decided_channel(how, channels)
    store = MapStore(run.folder / "oof")
    files = store.files(f"fold{fold}" for fold in page.scores["oof"]["folds"])
    return StoredMaps(store, channels, decided, files)


def _nothing(oof: Oof, name: str) -> bool:
    """Return whether truth and answer of a sample are both empty, so that its picture would show nothing."""
    return shows_nothing(oof.truths[name], oof.answers[name])


def _told(oof: Oof, wrong: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """Return the ids of the worst and of the best samples that have something to show."""
    return extremes({name: one for name, one in oof.score.by_sample.items() if not _nothing(oof, name)}, wrong=wrong)


def _image(contest: Contest, sample: Sample) -> Picture:
    return contest.competition.image(sample.images[0])


def _picture(
    contest: Contest, oof: Oof, sample: Sample, fold: int, found: Compared, maps: StoredMaps | str, details: int
) -> SamplePicture:
    """Draw one sample, with at most `details` of its worst places."""
    image, truth, answer = _image(contest, sample), oof.truths[sample.id], oof.answers[sample.id]
    probability = maps.probability(sample.id) if isinstance(maps, StoredMaps) else None
    size = image.shape[:2]
    is_wide = size[1] >= WIDE * size[0]
    side = WIDE_SIDE if is_wide else SIDE
    places = worst_places(found, size, details)
    shown = [*panels(image, truth, answer, side)]
    enlarged = []
    for letter, (flaw, window) in zip(LETTERS, places, strict=False):
        parts = [*panels(image, truth, answer, DETAIL_SIDE, window)]
        if probability is not None:
            parts.append(heat(probability, truth, DETAIL_SIDE, window))
        enlarged.append((f"{letter}: {_said_of(flaw, found, probability)}", joined(parts)))
    shown[0] = with_frames(shown[0], [window for _, window in places], size)
    if probability is not None:
        shown.append(heat(probability, truth, side))
    picture = joined(shown, 2 if is_wide and len(shown) > 3 else None)
    score = oof.score.by_sample[sample.id]
    return SamplePicture(sample.id, fold, score, sample.stratum, picture, found.in_words(), enlarged)


def worst_places(found: Compared, size: tuple[int, int], most: int) -> list[tuple[Flaw, tuple[slice, slice]]]:
    """Return at most `most` missed or false objects, the largest first, each with the window around it.

    An object in the middle of an earlier window gets none of its own, nor does one whose window is most of the image.
    """
    places: list[tuple[Flaw, tuple[slice, slice]]] = []
    for flaw in flaws(found, 50) if most else []:
        window = window_around(flaw.box, size)
        if len(places) < most and window and not any(holds(other, flaw.box) for _, other in places):
            places.append((flaw, window))
    return places


def _said_of(flaw: Flaw, found: Compared, probability: NDArray[np.float32] | None) -> str:
    """Return what a place shows, in words, and how probable the object is in the maps."""
    labels = (found.truth if flaw.kind == "missed" else found.answer).labels
    words = f"a {flaw.kind} object of {flaw.pixels:,} px"
    if probability is None:
        return words
    inside = probability[labels == flaw.number]
    return f"{words}; its probability is {inside.mean():.2f} on average, {inside.max():.2f} at most"
