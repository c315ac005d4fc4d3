"""What a planned training spends its time on, the largest share first, and what to type to spend less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from medalist.engine.inspect import anatomy
from medalist.engine.job import TrainJob
from medalist.engine.view_settings import views_of, work
from medalist.planning.arithmetic import validations_of, whole_seconds
from medalist.planning.inference_cost import pixels_of
from medalist.planning.measure import Base
from medalist.runs.plans import Option, Plan, Share
from medalist.runs.setup import TrainSetup

WORTH = 0.05
"""The share of the time from which on a cheaper setting is proposed."""

SMALLER = 0.75
"""The factor on the sides of images in the proposal of a smaller size."""

SIDES = 32
"""Proposed sides are multiples of this many pixels, as most networks need them."""


def views_times(settings: Any) -> float:
    """Return how many times the work of one view at native size a prediction does: its views and its scales."""
    return work(views_of(getattr(settings.predict, "tta", "none"), getattr(settings.predict, "scales", (1.0,))))


def without_views(setup: TrainSetup, base: Base, processes: int) -> float:
    """Return the seconds that all predictions together would save with one view at native size."""
    times = views_times(setup.settings)
    saved = [replace(one, read=0.0, write=0.0, forward=one.forward * (1 - 1 / times)) for one in base.oof]
    oof = sum(whole_seconds(saved, pixels_of(base.costs.computed(setup, fold)), 1, 0.0) for fold in setup.chosen)
    test = pixels_of(base.costs.computed(setup, None))
    return max(0.0, oof + whole_seconds(saved, test, base.passes(len(setup.chosen)), 0.0)) / processes


def encoder_share(job: TrainJob) -> float | None:
    """Return the encoder's share of the operations of a forward, 0..1; None where the network has no encoder."""
    batch = next(iter(job.train)).to(job.fabric.device, job.config.channels_last)
    found = anatomy(job, batch)
    encoder = next((part.flops for part in found.parts if part.name == "encoder" and not part.depth), None)
    return encoder / found.flops if encoder and found.flops else None


def shares(setup: TrainSetup, base: Base, made: Plan, encoder: float | None) -> tuple[Share, ...]:
    """Return the parts of the time, the largest first, each with what to type to make it smaller.

    encoder: the encoder's share of the operations, or None where it is not known.
    """
    seconds, train = made.seconds, setup.settings.train
    views = min(without_views(setup, base, made.processes), seconds["oof"] + seconds["test"])
    found = [
        Share("evaluation", seconds["validation"], f"train.evaluate_every={_seldom(train)}"),
        Share("further views of predictions (TTA)", views, "predict.tta=none"),
        Share("predictions, one view", seconds["oof"] + seconds["test"] - views, "smaller images"),
        Share("reading images", seconds["reading"], "loader.workers, loader.cache_mb"),
    ]
    if encoder is None:
        found.append(Share("training", seconds["training"], "a smaller network, smaller images"))
    else:
        whole = seconds["training"]
        found.append(Share("training: the encoder", encoder * whole, "a smaller model.encoder, smaller images"))
        found.append(Share("training: the rest of the network", (1 - encoder) * whole, "smaller images"))
    return tuple(sorted((one for one in found if one.seconds > 0), key=lambda one: -one.seconds))


def computed_options(setup: TrainSetup, base: Base, made: Plan) -> list[Option]:
    """Return cheaper settings whose gain follows from what was measured: evaluation, TTA and image size."""
    settings, seconds, whole = setup.settings, made.seconds, made.whole
    train, found = settings.train, list[Option]()
    seldom = _seldom(train)
    fewer = train.model_copy(update={"evaluate_every": seldom})
    before, after = (validations_of(one) + (1 if train.average else 0) for one in (train, fewer))
    saved = seconds["validation"] * (1 - after / before)
    if saved > WORTH * whole:
        chooses = train.chosen_on_held_out
        note = "computed; changes the result" if chooses else "computed; fewer points of the held-out curve"
        found.append(Option(f"train.evaluate_every={seldom}", whole - saved, chooses, note))
    saved = without_views(setup, base, made.processes)
    if saved > WORTH * whole:
        changes = ["predict.tta=none"] if getattr(settings.predict, "tta", "none") != "none" else []
        changes += ["predict.scales=[1.0]"] if tuple(getattr(settings.predict, "scales", (1.0,))) != (1.0,) else []
        found.append(Option(" ".join(changes), whole - saved, True, "computed; changes the result"))
    found += _smaller(setup, base, made)
    return found


def _seldom(train: Any) -> int:
    """Return an interval of evaluations that is four times as long, or as long as the training."""
    return int(min(train.epochs, 4 * train.evaluate_every)) if train.evaluate_every else 0


def _smaller(setup: TrainSetup, base: Base, made: Plan) -> Iterator[Option]:
    """Yield the proposal of smaller images, whose time is proportional to their pixels."""
    settings, seconds, note = setup.settings, made.seconds, "computed by pixels; changes the result"
    size = getattr(settings.image, "size", None)
    seen = tuple(next(iter(base.ran.job.train)).image.shape[2:]) if size is None else tuple(size)
    if len(seen) != 2:
        return
    less = _less(seen)
    ratio = less[0] * less[1] / (seen[0] * seen[1])
    if ratio >= 1:
        return
    if size is None:  # augmentation cuts the images, and predictions see them whole
        saved, change = (1 - ratio) * seconds["training"], f"augment: crops of {less[1]}x{less[0]}"
    else:
        saved = (1 - ratio) * sum(seconds[name] for name in ("training", "validation", "oof", "test"))
        change = f"image.size=[{less[0]},{less[1]}]"
        train_size = getattr(settings.image, "train_size", None)
        if train_size is not None:
            small = _less(train_size)
            change += f" image.train_size=[{small[0]},{small[1]}]"
    if saved > WORTH * made.whole:
        yield Option(change, made.whole - saved, True, note)


def _less(size: Sequence[int]) -> tuple[int, int]:
    """Return a (height, width) that is about SMALLER times as large."""
    height, width = (max(SIDES, int(side * SMALLER / SIDES) * SIDES) for side in size)
    return height, width
