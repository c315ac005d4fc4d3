"""How the networks of this kind are exported: implements `tasks.protocols.Exporting`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from medalist.competition import Competition
from medalist.errors import ExportError, RunError
from medalist.postprocess.box_settings import ObjectDecideConfig
from medalist.runs.runs import Run
from medalist.tasks.detect.classes import competition_classes
from medalist.tasks.detect.dense import DenseCriterion
from medalist.tasks.detect.inference import views_of
from medalist.tasks.detect.outputs import DenseOutputs, places_of
from medalist.tasks.detect.predictor import DetectNetworks
from medalist.tasks.detect.settings import DetectSettings
from medalist.tasks.detect.tuning import with_scored_cuts
from medalist.tasks.exported import ExportPlan, turns_of
from medalist.tasks.scored import scored_decide


def plan(networks: DetectNetworks, run: Run, settings: DetectSettings, competition: Competition) -> ExportPlan:
    """Return how these networks are exported: logits, scores, and the boxes of all places of a frame."""
    size, criterion, limits = settings.image.size, networks.task.criterion, networks.task.limits
    if not isinstance(criterion, DenseCriterion):
        raise ExportError(
            f"{run.folder}: networks of model.kind = {settings.model.kind} are not exported, because they choose boxes "
            "between their stages; take aligned, fcos or retinanet, or open the run with medalist.open_run"
        )
    shapes = getattr(getattr(networks.models[0], "head", None), "shapes", None)
    levels = places_of(size, settings.model.strides, torch.device("cpu"), shapes).levels
    slices = settings.predict.slices

    def said(outputs: Any) -> tuple[Tensor, ...]:
        dense: DenseOutputs = outputs.float()
        places = criterion.places(dense, size)
        return dense.scores, criterion.scores(dense), criterion.boxes(dense.sides, places)

    decide, undecided = _decision(run, settings, competition)
    return ExportPlan(
        models=networks.models,
        normalisation=networks.normalisation,
        said=said,
        names=("logits", "scores", "boxes"),
        sized=(False, False, False),
        size=size,
        item=networks.item,
        alone=lambda at: replace(networks, models=(networks.models[at],)),
        described={
            "form": "boxes",
            "columns": competition_classes(competition),
            "gray": settings.model.in_channels == 1,
            "views": turns_of(views_of(settings.predict), size),
            "boxes": {
                "frame": size,
                "fill": settings.image.fill,
                "keeps": settings.image.unit == "pixel",
                "levels": levels,
                "floor": limits.floor,
                "most": limits.most,
                "doubles": limits.doubles,
                "slices": None if slices is None else slices.model_dump(),
            },
            "decide": decide,
            "undecided": undecided,
        },
    )


def _decision(run: Run, settings: DetectSettings, competition: Competition) -> tuple[dict[str, Any] | None, str]:
    """Return the decision, or None and why there is none."""
    how: ObjectDecideConfig = scored_decide(run, TypeAdapter(ObjectDecideConfig), settings.decide)
    classes = competition_classes(competition)
    try:
        how = with_scored_cuts(run, how, classes)
    except RunError as error:
        return None, str(error)
    return {"decide": how.model_dump(mode="json"), "classes": list(classes)}, ""
