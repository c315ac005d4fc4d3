"""OOF scores of detectors alone and together: doubles dropped, or boxes fused, over networks and views.

python benchmarks/box_ensemble.py RUN [RUN ...] --data DIR [--iou 0.55]

RUN is the folder of a run whose folds are predicted. Each run is decided by nms and by weighted boxes fusion (wbf), and
all of them together by wbf. Runs must have the same folds. The scores are those of the contest's metric for answers in
memory, and the row of a run under `nms` equals what `medalist score RUN` prints where its config says the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medalist.postprocess.box_settings import BoxDecideConfig, NmsConfig, WbfConfig
from medalist.postprocess.boxes import decide
from medalist.records import BoxPrediction
from medalist.runs.opening import open_contest
from medalist.runs.runs import Run
from medalist.tasks.detect.answering import joined, oof_predictions


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--iou", type=float, default=0.55)
    given = parser.parse_args()
    runs = [Run(folder) for folder in given.runs]
    if len({(run.folder / "folds.csv").read_bytes() for run in runs}) != 1:
        parser.error("these runs have different folds")
    contest = open_contest(runs[0].competition, given.data, given.runs[0].resolve().parent.parent)
    folds = range(runs[0].folds().n)
    truths = {sample.id: contest.truth(sample) for sample in contest.split.train}
    found = {run.folder.name: oof_predictions(run, contest, folds) for run in runs}
    nms, wbf = NmsConfig(iou=0.6, score=0.01), WbfConfig(iou=given.iou, score=0.01)
    rows: list[tuple[str, BoxDecideConfig, list[dict[str, BoxPrediction]]]] = []
    for name, predictions in found.items():
        rows += [(f"{name}, nms", nms, [predictions]), (f"{name}, wbf", wbf, [predictions])]
    if len(found) > 1:
        rows.append(("all, wbf", wbf, list(found.values())))
    names: list[str] = []
    for title, config, parts in rows:
        answers = {name: decide(joined([part[name] for part in parts]), config) for name in truths}
        score = contest.competition.score(truths, answers)
        if not names:
            names = [name for name in score.parts if name.startswith("ap")]
            print("| boxes of | mAP | " + " | ".join(names) + " |\n|---" + "|---" * (len(names) + 1) + "|")
        print(f"| {title} | {score.value:.4f} | " + " | ".join(f"{score.parts[name]:.3f}" for name in names) + " |")


if __name__ == "__main__":
    main()
