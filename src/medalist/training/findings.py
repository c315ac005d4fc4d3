"""The results of `medalist debug` as sentences and tables; warnings come worst first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from medalist.engine.first_steps import LrRange, Overfit
from medalist.engine.gradients import Flow, Flows
from medalist.engine.inspect import Anatomy, Idle, Idleness, NetworkPart
from medalist.engine.nan_hunt import Culprit, Hunt
from medalist.report.network import Grid
from medalist.training.coverage import Coverage, coverage_line, coverage_table, coverage_warning, crop_advice

MANY_DEAD, MANY_EVEN = 0.3, 0.3
"""From these shares of dead or constant channels on, a layer gets a warning. Pretrained networks have some such
channels in all layers."""
LARGEST_UPDATE, SMALLEST_UPDATE = 0.1, 1e-7
"""Weights get a warning where their update, as a share of the weights, is above or below these limits. A healthy update
is about a thousandth."""

NAMED = 5
ENOUGH_STEPS = 50


@dataclass(frozen=True)
class Diagnostics:
    """All results of the tests, and `lr`, the learning rate of the config. None: the test was left out."""

    anatomy: Anatomy
    hunt: Hunt
    idle: Idleness | None
    flows: Flows | None
    overfit: Overfit | None
    lr_range: LrRange | None
    lr: float
    coverage: Coverage | None = None


def wrong(diagnostics: Diagnostics) -> list[str]:
    """Return the warnings, worst first; most say what to check."""
    found = [_hunted(diagnostics.hunt), *_learned(diagnostics), *_flowing(diagnostics.flows), *_idle(diagnostics.idle)]
    if diagnostics.coverage is not None:
        found.insert(1, coverage_warning(diagnostics.coverage))
    return [line for line in found if line]


def _hunted(hunt: Hunt) -> str:
    culprit = hunt.culprit
    if culprit is None:
        return ""
    on = f"on samples {', '.join(culprit.samples)}"
    what, name = culprit.value, _module(culprit)
    match culprit.where:
        case "image" | "target":
            line = f"{what} in the {culprit.where} of {', '.join(culprit.samples)}: look at that file and at augment"
        case "weights":
            line = f"{what} in the weights {culprit.name}: they diverged earlier; use older weights or lower train.lr"
        case "forward":
            line = f"{what} first in the output of {name}, though its inputs were finite, {on}"
        case "evaluation":
            line = (
                f"{what} first in the output of {name} in evaluation mode {on}: its running statistics are broken; "
                "lower train.lr, or make batches larger"
            )
        case "loss":
            part = f" ({culprit.name})" if culprit.name else ""
            line = f"{what} in the loss{part}, though the outputs were finite, {on}: look at their targets"
        case "arriving":
            line = f"{what} first in the gradient that arrives at the output of {name} from the layers after it, {on}"
        case "gradient" if not culprit.name:
            line = f"{what} in the gradient of the loss {on}: look at their targets, and at loss"
        case "gradient":
            line = f"{what} first in the gradient that {name} passes back, {on}; train.clip does not fix this"
    return line


def _module(culprit: Culprit) -> str:
    return f"{culprit.name or 'the network'}{f' ({culprit.kind})' if culprit.kind else ''}"


def _learned(diagnostics: Diagnostics) -> list[str]:
    tried, tested = diagnostics.overfit, diagnostics.lr_range
    lines = []
    if tried and not tried.finite:
        lines.append(
            f"the loss of one batch became {tried.losses[-1]} after {len(tried.losses) - 1} steps at "
            f"lr {tried.lr:.1e}: lower train.lr"
        )
    elif tried and not tried.learned:
        lines.append(_not_learned(tried, diagnostics.coverage))
    if tested and tested.tenth is None and len(tested.losses) > 10:
        lines.append("no learning rate between the lowest and the highest made the loss fall: look at loss and targets")
    elif tested and tested.diverged and diagnostics.lr >= tested.rates[-1]:
        lines.append(
            f"train.lr = {diagnostics.lr:.1e}, but the loss exploded at {tested.rates[-1]:.1e}: take "
            f"{_suggestion(tested)}"
        )
    elif tested and tested.tenth and diagnostics.lr < tested.tenth / 100:
        lines.append(
            f"train.lr = {diagnostics.lr:.1e} is too low to learn; the range test suggests {_suggestion(tested)}"
        )
    return lines


def _not_learned(tried: Overfit, found: Coverage | None) -> str:
    steps, first, last = len(tried.losses) - 1, tried.losses[0], tried.losses[-1]
    line = f"the network did not overfit one batch: in {steps} steps its loss went {first:.4g} -> {last:.4g}, "
    line += f"not below {tried.goal:.4g}"
    if abs(last - first) <= 1e-3 * abs(first):
        return line + "; it did not change: check train.lr, the frozen layers, and that the loss has a gradient"
    if last > first:
        return line + f"; it rose: lower train.lr (it was {tried.lr:.1e})"
    if steps < ENOUGH_STEPS:
        return line + f"; {steps} steps are few: use --steps {max(100, 2 * ENOUGH_STEPS)}"
    if last < first - 0.5 * (first - tried.goal):
        return line + "; the loss is still falling: use more --steps, or another train.lr"
    if found is not None and found.mostly_empty:
        return f"{line}; {found.empty} of {found.samples} samples hold no target: {crop_advice(found)}"
    return line + "; check that images and targets belong together, then check train.lr, dropout and the loss"


def _suggestion(tested: LrRange) -> str:
    both = [f"{rate:.1e}" for rate in (tested.tenth, tested.steepest) if rate]
    return " to ".join(dict.fromkeys(both)) or "a lower one"


def _flowing(flows: Flows | None) -> list[str]:
    if flows is None:
        return []
    missing = [flow.name for flow in flows.parameters if flow.gradient is None]
    zero = [flow.name for flow in flows.parameters if flow.gradient is not None and flow.zero]
    large = [flow for flow in flows.parameters if flow.matrix and (flow.ratio or 0) > LARGEST_UPDATE]
    small = [flow for flow in _moved(flows) if flow.ratio is not None and flow.ratio < SMALLEST_UPDATE]
    lines = []
    if not math.isfinite(flows.norm):
        lines.append(f"the gradient's norm is {flows.norm}")
    if missing:
        lines.append(f"parameters without a gradient, so nothing uses them: {_some(missing)}")
    if zero:
        lines.append(f"gradients that are exactly zero in two steps: {_some(zero)}")
    if large:
        worst = sorted(large, key=lambda flow: -(flow.ratio or 0))
        named = _some([f"{flow.name} ({flow.ratio:.2g})" for flow in worst])
        lines.append(f"one step changes weights by more than {LARGEST_UPDATE:g} of their norm: {named}; lower train.lr")
    if small:
        named = _some([f"{flow.name} ({flow.ratio:.1g})" for flow in small])
        lines.append(
            f"one step changes weights by less than {SMALLEST_UPDATE:g} of their norm: {named}; raise train.lr"
        )
    return lines


def _moved(flows: Flows) -> list[Flow]:
    return [flow for flow in flows.parameters if flow.matrix and flow.gradient and not flow.zero]


def _idle(idle: Idleness | None) -> list[str]:
    if idle is None:
        return []
    dead = sorted((layer for layer in idle.activations if layer.share >= MANY_DEAD), key=lambda layer: -layer.share)
    even = sorted((layer for layer in idle.norms if layer.share >= MANY_EVEN), key=lambda layer: -layer.share)
    lines = []
    if dead:
        lines.append(f"dead channels, zero on all {idle.samples} samples: {_some([_share(layer) for layer in dead])}")
    if even:
        lines.append(f"batch norms of channels that never change: {_some([_share(layer) for layer in even])}")
    return lines


def _share(layer: Idle) -> str:
    return f"{layer.layer} {len(layer.dead)} of {layer.channels}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def tables(diagnostics: Diagnostics) -> list[Grid]:
    """Return the tables. The page shows all of them, and the terminal those that are not folded."""
    made = [parts_table(diagnostics.anatomy)]
    if diagnostics.flows:
        made.append(stage_table(diagnostics.flows, diagnostics.anatomy))
    if diagnostics.coverage:
        made.append(coverage_table(diagnostics.coverage))
    if diagnostics.idle:
        made.append(idle_table(diagnostics.idle))
    if diagnostics.flows:
        made.append(_flow_table(diagnostics.flows))
    return made


def parts_table(anatomy: Anatomy) -> Grid:
    """Return the table of the network's parts with output shapes, parameters and shares of the operations."""
    note = (
        f"The batch is {shape(anatomy.image)}, the output {shapes(anatomy.output)}. {anatomy.parameters:,} parameters, "
        f"{anatomy.trainable:,} trained; {anatomy.flops / 1e9 / max(1, anatomy.image[0]):.3g} GFLOP forward a sample."
    )
    rows = [
        [
            ("  " if part.depth else "") + part.name,
            part.kind,
            shapes(part.shapes),
            f"{part.parameters:,}",
            f"{part.trainable:,}",
            f"{100 * part.flops / max(1, anatomy.flops):.1f}",
        ]
        for part in anatomy.parts
    ]
    return Grid("Parts", note, ("part", "kind", "output", "parameters", "trained", "% of FLOPs"), rows, (3, 4, 5))


def stage_table(flows: Flows, anatomy: Anatomy) -> Grid:
    """Return the table of gradients and updates, summed by the innermost parts that `Anatomy` names."""
    rows = []
    for part, inside in by_part(flows.parameters, anatomy.parts):
        ratios = [flow.ratio for flow in inside if flow.ratio is not None and flow.matrix]
        norm = math.hypot(*(flow.gradient or 0.0 for flow in inside))
        none = sum(flow.gradient is None or flow.zero for flow in inside)
        update = f"{median(ratios):.1e}" if ratios else ""
        rows.append([part, str(len(inside)), f"{norm:.2e}", update, f"{max(ratios):.1e}" if ratios else "", str(none)])
    clipped = flows.clip and flows.norm > flows.clip
    note = (
        f"One step of the optimiser at the schedule's first rate. The loss was {flows.loss:.4g}, the gradient's norm "
        f"{flows.norm:.3g}{f', cut to {flows.clip:g} by train.clip' if clipped else ''}. "
        f"An update is given as a share of the weight; about 1e-3 is healthy; {len(flows.frozen)} tensors are frozen."
    )
    columns = ("part", "tensors", "gradient", "update, median", "largest", "without gradient")
    return Grid("Gradients and updates", note, columns, rows, (1, 2, 3, 4, 5))


def by_part(parameters: Sequence[Flow], parts: Sequence[NetworkPart]) -> list[tuple[str, list[Flow]]]:
    """Group parameters by the part with the longest name that their names begin with.

    A parameter that belongs to no part is a group of its own, under its own name.
    """
    names = sorted((part.name for part in parts), key=len, reverse=True)
    found: dict[str, list[Flow]] = {}
    for flow in parameters:
        name = next((name for name in names if flow.name.startswith(f"{name}.")), flow.name)
        found.setdefault(name, []).append(flow)
    return list(found.items())


def idle_table(idle: Idleness) -> Grid:
    """Return the table of the ten layers with the largest shares of channels that never change, the largest first."""
    layers = [layer for layer in (*idle.activations, *idle.norms) if layer.dead]
    rows = [
        [layer.layer, layer.kind, str(layer.channels), str(len(layer.dead)), f"{100 * layer.share:.0f}"]
        for layer in sorted(layers, key=lambda layer: -layer.share)[:10]
    ]
    seen = len(idle.activations)
    note = (
        f"On {idle.samples} samples, of {seen} activations that can be exactly zero and {len(idle.norms)} batch norms"
        f"{', these have channels that never change' if rows else ': every channel does something'}."
    )
    return Grid("Idle channels", note, ("layer", "kind", "channels", "idle", "%"), rows, (2, 3, 4))


def _flow_table(flows: Flows) -> Grid:
    rows = [
        [
            flow.name,
            f"{flow.values:,}",
            f"{flow.weight:.3g}",
            "none" if flow.gradient is None else f"{flow.gradient:.2e}",
            f"{flow.update:.2e}",
            "" if flow.ratio is None else f"{flow.ratio:.1e}",
        ]
        for flow in flows.parameters
    ]
    columns = ("parameter", "values", "norm", "gradient", "update", "update / norm")
    return Grid("Every parameter", "In the order of the network.", columns, rows, (1, 2, 3, 4, 5), folded=True)


def facts(diagnostics: Diagnostics) -> list[tuple[str, str]]:
    """Return the result of each test as (name, one line of text)."""
    found = [
        (
            "not finite",
            _hunted(diagnostics.hunt) or f"nothing in {diagnostics.hunt.samples} samples, forward and backward",
        )
    ]
    if diagnostics.coverage:
        found.append(("targets", coverage_line(diagnostics.coverage)))
    if diagnostics.overfit:
        tried = diagnostics.overfit
        text = f"{len(tried.losses) - 1} steps at lr {tried.lr:.1e}: loss {tried.losses[0]:.4g} -> "
        text += f"{tried.losses[-1]:.4g}, goal {tried.goal:.4g}: {'learned' if tried.learned else 'not learned'}"
        found.append(("one batch", text))
    if diagnostics.lr_range:
        tested = diagnostics.lr_range
        text = f"steepest at {tested.steepest:.1e}, " if tested.steepest else "the loss did not fall; "
        text += f"a tenth of the minimum is {tested.tenth:.1e}; " if tested.tenth else ""
        text += (
            f"exploded at {tested.rates[-1]:.1e}" if tested.diverged else f"no explosion up to {tested.rates[-1]:.1e}"
        )
        found.append(("learning rate", f"{text}; train.lr is {diagnostics.lr:.1e}"))
    return found


def shape(sides: Sequence[int]) -> str:
    """Return a shape as text, for instance 4x3x128x128."""
    return "x".join(map(str, sides)) or "a number"


def shapes(several: Sequence[Sequence[int]]) -> str:
    """Return the shapes of several outputs as text; of more than two, only the first and the last."""
    listed = [shape(one) for one in several]
    return ", ".join(listed if len(listed) <= 2 else [listed[0], "...", listed[-1]])
