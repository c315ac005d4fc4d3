"""How the networks of this kind are exported: implements `tasks.protocols.Exporting`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor

from medalist.competition import Competition
from medalist.engine.view_settings import VIEWS
from medalist.errors import RunError
from medalist.runs.runs import Run
from medalist.tasks.classify.answering import scored_thresholds
from medalist.tasks.classify.classes import competition_classes
from medalist.tasks.classify.decide_settings import DecideConfig
from medalist.tasks.classify.predictor import ClassifyNetworks
from medalist.tasks.classify.settings import ClassifySettings
from medalist.tasks.exported import ExportPlan, refuse_own, turns_of
from medalist.tasks.scored import scored_decide


def plan(networks: ClassifyNetworks, run: Run, settings: ClassifySettings, competition: Competition) -> ExportPlan:
    """Return how these networks are exported: outputs, and probabilities or grades, of images of one size."""
    size, task = settings.image.size, networks.task

    def said(outputs: Any) -> tuple[Tensor, ...]:
        return outputs.float(), task.predictions(outputs)

    decide, undecided = _decision(run, settings, competition)
    return ExportPlan(
        models=networks.models,
        normalisation=networks.normalisation,
        said=said,
        names=("logits", "values"),
        sized=(False, False),
        size=size,
        item=networks.item,
        alone=lambda at: replace(networks, models=(networks.models[at],)),
        described={
            "form": "table",
            "columns": networks.columns,
            "crop": size,
            "gray": settings.model.in_channels == 1,
            "views": turns_of(VIEWS[settings.predict.tta], size),
            "decide": decide,
            "undecided": undecided,
        },
    )


def _decision(run: Run, settings: ClassifySettings, competition: Competition) -> tuple[dict[str, Any] | None, str]:
    """Return the decision, or None and why there is none."""
    how: DecideConfig = scored_decide(run, TypeAdapter(DecideConfig), settings.decide)
    undecided = refuse_own(how)
    if undecided:
        return None, undecided
    classes = competition_classes(competition)
    try:
        numbers = scored_thresholds(run, how, classes)
    except RunError as error:
        return None, str(error)
    return {"decide": how.model_dump(mode="json"), "numbers": numbers.tolist(), "classes": list(classes)}, ""
