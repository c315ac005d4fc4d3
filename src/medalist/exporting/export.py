"""`medalist export`: the networks of a run, written to a folder that a service opens, or nothing at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medalist import __version__
from medalist.contest import Contest
from medalist.data.items import preparation_of
from medalist.deploy.deployed import Deployed
from medalist.deploy.description import FILE, BoxRules, Described, Tiled, Turned, read_description
from medalist.deploy.forms import padded_input
from medalist.deploy.sessions import OnnxRunner, open_runner
from medalist.errors import ConfigError, ExportError, MedalistError, RunError
from medalist.exporting.differences import side_by_side
from medalist.exporting.gate import (
    LIMITS,
    Figures,
    HeldOut,
    Limits,
    Reference,
    UnlikeError,
    refuse_unlike,
    seen_at_once,
)
from medalist.exporting.graphs import FoldsGraph
from medalist.exporting.onnx_files import Exporter, Precision, refuse_missing, write_fp16, write_int8, write_onnx
from medalist.exporting.programs import open_program, write_program
from medalist.files import reason, sha256_file, write_json, written
from medalist.kinds import decider_of, kind_of
from medalist.predictor import Predictor
from medalist.records import Sample
from medalist.reporter import Reporter
from medalist.runs.fold_weights import weights_hash
from medalist.runs.versions import packages
from medalist.tasks.exported import ExportPlan

Target = Literal["onnx", "torch"]

CALIBRATED = 32
"""Images of the training part on which int8 is calibrated."""

MODEL = {"onnx": "model.onnx", "torch": "model.pt2"}
"""The file of the networks, by format."""

NAMED = ("torch", "torchvision", "timm", "segmentation_models_pytorch", "onnx", "onnxscript", "onnxruntime")
"""Packages whose versions are noted."""


@dataclass(frozen=True)
class ExportRequest:
    """What is exported, and how.

    to: the format. precision: fp32, or fp16 and int8 for ONNX. exporters: of torch, tried in this order. samples: how
    many held-out samples the gate looks at; 0 takes all. limits: of the gate; None takes those of the precision.
    """

    to: Target = "onnx"
    precision: Precision = "fp32"
    exporters: tuple[Exporter, ...] = ("dynamo", "torchscript")
    samples: int = 64
    limits: Limits | None = None


@dataclass(frozen=True)
class Written:
    """A finished export: its folder, what made it, and what the gate measured."""

    folder: Path
    described: Described
    figures: Figures
    exporter: str


def export(predictor: Predictor, contest: Contest, folder: Path, request: ExportRequest, reporter: Reporter) -> Written:
    """Write the networks of an open run to a new folder, after the gate has compared the file with the run.

    predictor: on the processor, with precision 32-true. Both exporters of torch are tried where the first cannot write
    the network, or writes one that says something else. Raises ExportError where neither does it: then nothing is
    written but a picture of the worst image, in the run's folder `debug`.
    """
    _refuse_request(request)
    run, settings = predictor.run, predictor.settings
    exporting = kind_of(settings).exporting
    if exporting is None:
        raise ExportError(f"{run.folder}: runs of task.kind = {settings.task.kind} are not exported")
    plan = exporting().plan(predictor.networks, run, settings, predictor.competition)
    described = describe(predictor, plan, request)
    reference = _reference(predictor, contest, plan, described, request)
    ways: tuple[str, ...] = request.exporters if request.to == "onnx" else ("torch.export",)
    refused: list[str] = []
    with new_folder(folder) as made:
        for way in ways:
            try:
                figures = _attempt(made, way, plan, described, reference, contest, request, reporter)
            except ExportError as error:
                refused.append(f"{way}: {error}{_pictured(predictor, error)}")
                reporter.say(f"refused, {refused[-1]}")
                continue
            _finish(made, way, described, figures, refused, predictor)
            break
        else:
            raise ExportError(f"{run.name} is not exported; {'; '.join(refused)}")
    return Written(folder, read_description(folder), figures, way)


def _refuse_request(request: ExportRequest) -> None:
    if request.to == "onnx":
        refuse_missing()
    elif request.precision != "fp32":
        raise ConfigError(f"--precision {request.precision} is for --to onnx; leave it out")


def _attempt(
    made: Path,
    way: str,
    plan: ExportPlan,
    described: Described,
    reference: Reference,
    contest: Contest,
    request: ExportRequest,
    reporter: Reporter,
) -> Figures:
    """Write the networks in one way, and let the gate compare them. Raises ExportError."""
    path = made / described.model
    if request.to == "torch":
        write_program(reference.graph, plan, path)
        deployed = Deployed(described, open_program(path, plan, described.folds))
    else:
        _write_network(path, way, plan, described, reference, contest, request)
        described = replace(described, sha256=sha256_file(path))
        deployed = Deployed(described, _opened(made, described))
    limits = request.limits or LIMITS[request.precision]
    with reporter.progress(f"compare {way}", len(reference.samples)) as bar:
        return refuse_unlike(reference, deployed, limits, bar)


def _opened(made: Path, described: Described) -> OnnxRunner:
    try:
        return open_runner(made, described, 0, "cpu")
    except RunError as error:
        raise ExportError(str(error)) from error


def _write_network(
    path: Path,
    way: str,
    plan: ExportPlan,
    described: Described,
    reference: Reference,
    contest: Contest,
    request: ExportRequest,
) -> None:
    """Write an ONNX file of the precision that is asked for."""
    exporter: Exporter = "dynamo" if way == "dynamo" else "torchscript"
    if request.precision == "fp32":
        write_onnx(reference.graph, plan, described.folds, path, exporter)
        return
    whole = path.with_name("whole.onnx")
    try:
        write_onnx(reference.graph, plan, described.folds, whole, exporter)
        if request.precision == "fp16":
            write_fp16(whole, path)
        else:
            write_int8(whole, path, _calibration(described, contest, reference))
    finally:
        whole.unlink(missing_ok=True)


def _calibration(described: Described, contest: Contest, reference: Reference) -> list[NDArray[np.uint8]]:
    """Return images of the training part as the network gets them, none of which the gate looks at."""
    judged = {one.sample.id for one in reference.samples}
    some = [sample for sample in _drawn(contest.split.train) if sample.id not in judged]
    if not some:
        raise ExportError("int8 is calibrated on samples that are not compared, and none is left; type --samples 8")
    images = (seen_at_once(contest.competition.image(one.images[0]), described) for one in some[:CALIBRATED])
    return [padded_input(image, described) for image in images]


def describe(predictor: Predictor, plan: ExportPlan, request: ExportRequest) -> Described:
    """Return the description of an export, still without the hash of its file."""
    run, settings = predictor.run, predictor.settings
    known: dict[str, Any] = dict(plan.described)
    names = {one.name for one in fields(Described)}
    assert set(known) <= names, sorted(set(known) - names)
    known["views"] = tuple(Turned(**view) for view in known["views"])
    if known.get("boxes") is not None:
        known["boxes"] = BoxRules(**known["boxes"])
    if known.get("tile") is not None:
        known["tile"] = Tiled(**known["tile"])
    return Described(
        run=f"{run.competition}/{run.name}",
        kind=settings.task.kind,
        model=MODEL[request.to],
        sha256="",
        folds=predictor.folds,
        outputs=plan.names,
        prepare=preparation_of(settings.image),
        **known,
    )


def _reference(
    predictor: Predictor, contest: Contest, plan: ExportPlan, described: Described, request: ExportRequest
) -> Reference:
    run_folds = predictor.run.folds()
    place = {name: at for at, fold in enumerate(predictor.folds) for name in run_folds.held_out(fold)}
    held = [HeldOut(one, place[one.id]) for one in _drawn(contest.split.train) if one.id in place]
    decide = None
    if described.decide is not None:
        decide = decider_of(described.kind)(described.decide)
    return Reference(
        plan=plan,
        graph=FoldsGraph(plan),
        settings=predictor.settings,
        contest=contest,
        folds=predictor.folds,
        samples=tuple(held[: request.samples or None]),
        decide=decide,
    )


def _drawn(samples: Sequence[Sample]) -> list[Sample]:
    """Return samples in an order that a hash of their ids gives, so that the first ones are any."""
    return sorted(samples, key=lambda one: sha256(one.id.encode(errors="surrogateescape")).digest())


def _finish(
    made: Path, way: str, described: Described, figures: Figures, refused: Sequence[str], predictor: Predictor
) -> None:
    """Write the description beside the file that has passed the gate."""
    run, keep = predictor.run, predictor.settings.train.keep
    versions = packages()
    facts = {
        "exporter": way,
        "refused": list(refused),
        "gate": figures.as_json(),
        "weights": {f"fold{fold}": weights_hash(run, fold, keep) for fold in predictor.folds},
        "config": run.lock().config,
        "medalist": __version__,
        "versions": {name: versions[name] for name in NAMED if name in versions},
        "input": "uint8[B, h, w, C], red, green, blue; it is normalised inside",
    }
    whole = replace(described, sha256=sha256_file(made / described.model), facts=facts)
    write_json(made / FILE, whole.as_json())


def _pictured(predictor: Predictor, error: ExportError) -> str:
    """Write a picture of the image on which a refused file is farthest from the run; return words that name it."""
    if not isinstance(error, UnlikeError) or error.shown is None:
        return ""
    path = predictor.run.folder / "debug" / "export-worst.png"
    with written(path) as temporary:
        Image.fromarray(side_by_side(*error.shown)).save(temporary)
    return f" (see {path})"


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `folder` when the block ends without error; else nothing is left.

    Raises MedalistError where `folder` is there already and is no export, or cannot be written.
    """
    if folder.exists() and not (folder / FILE).is_file():
        raise MedalistError(f"{folder} is there already and is no export; name a folder that is not there")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".", suffix=f"-{folder.name[:100]}", dir=folder.parent))
    except OSError as error:
        raise MedalistError(f"cannot write {folder}: {reason(error)}") from error
    try:
        yield made
        made.chmod(0o755)  # mkdtemp lets nobody else in
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
