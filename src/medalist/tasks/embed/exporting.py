"""How the networks of this kind are exported: implements `tasks.protocols.Exporting`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from medalist.competition import Competition
from medalist.engine.view_settings import VIEWS
from medalist.runs.runs import Run
from medalist.tasks.embed.loaded import EmbedNetworks
from medalist.tasks.embed.predictor import Embedders
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.exported import ExportPlan, turns_of

UNDECIDED = "names come from a gallery; take predict, and search its vectors with medalist.Index"


def plan(networks: Embedders, run: Run, settings: EmbedSettings, competition: Competition) -> ExportPlan:
    """Return how these networks are exported: unit vectors of images of one size, of each fold by itself."""
    size, loaded = settings.image.size, networks.networks

    def said(outputs: Any) -> tuple[Tensor, ...]:
        return (outputs.float(),)

    return ExportPlan(
        models=loaded.models,
        normalisation=networks.normalisation,
        said=said,
        names=("vectors",),
        sized=(False,),
        size=size,
        item=networks.item,
        alone=lambda at: replace(networks, networks=EmbedNetworks((loaded.models[at],), loaded.shared)),
        shared=loaded.shared,
        described={
            "form": "vector",
            "columns": (),
            "crop": size,
            "gray": settings.model.in_channels == 1,
            "views": turns_of(VIEWS[settings.predict.tta], size),
            "decide": None,
            "undecided": UNDECIDED,
        },
    )
