"""Some libraries in one process, point by point in turns, so that a machine whose speed drifts treats all alike.

    python benchmarks/ann/turns.py --vectors runs/ann --set deep112 --only scann-1024 symphonyqg-32

`run.py` gives each library a process and a time of its own, which is what memory wants; this is what speed wants where
the machine is shared. Ratios are those of the medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import peers
from adapter import MODES
from curves import OURS, table
from measure import is_worth, one_pass
from run import METRICS
from truth import cached_truth, padded, recall


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--vectors", type=Path, default=Path("runs/ann"))
    options.add_argument("--set", default="deep112", choices=sorted(METRICS))
    options.add_argument("--only", nargs="+", default=["scann-1024", "symphonyqg-32"])
    options.add_argument("--subset", type=int, default=200_000)
    options.add_argument("--queries", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--cpu", type=int, default=1)
    options.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    chosen = options.parse_args()
    os.sched_setaffinity(0, {chosen.cpu})
    base_file, metric = chosen.vectors / f"{chosen.set}-base.npy", METRICS[chosen.set]
    base = np.array(np.load(base_file, mmap_mode="r")[: chosen.subset])
    queries = np.load(chosen.vectors / f"{chosen.set}-queries.npy")[: chosen.queries]
    tenth = cached_truth(base_file, chosen.subset, queries, metric)
    libraries, results = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (OURS, *chosen.only):
            peers.load(name)
            start = time.process_time()
            peer = libraries[name] = peers.build(name, base, metric, Path(folder))
            build = time.process_time() - start
            results[name] = {"shape": base.shape, "parameters": peer.parameters, "build_cpu": build, "memory": 0}
            results[name]["points"] = points = []
            for setting in peer.settings:
                for mode in MODES if peer.many is not None else MODES[:1]:
                    peer.tune(setting)
                    seconds, found = one_pass(peer, mode, queries)
                    reached = recall(padded(found, len(queries)), base, queries, tenth, metric)
                    point: dict[str, Any] = {"setting": setting, "mode": mode, "recall": reached}
                    points.append({**point, "passes": [len(queries) / seconds]})
                if points[-1]["recall"] > 0.998:
                    break
            points[:] = [point for point in points if is_worth(point, points) and point["recall"] > 0.85]
        longest = max(len(result["points"]) for result in results.values())
        for _ in range(chosen.rounds):
            for place in range(longest):
                for name, result in results.items():
                    if place < len(result["points"]):
                        point = result["points"][place]
                        libraries[name].tune(point["setting"])
                        seconds, _ = one_pass(libraries[name], point["mode"], queries)
                        point["passes"].append(len(queries) / seconds)
    for result in results.values():
        for point in result["points"]:
            point["qps"] = median(point["passes"][1:])  # the first was not taken in turns
    if chosen.out:
        chosen.out.write_text(json.dumps(results))
    print(f"{chosen.set}, {len(base)} × {base.shape[1]}, {metric}, {len(queries)} queries, {chosen.rounds} rounds\n")
    print(table(results))


if __name__ == "__main__":
    main()
