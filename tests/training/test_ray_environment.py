"""A queue on one machine opens no port that another machine could reach."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys

import psutil
import pytest

from medalist.training.fold_queue import FoldQueue
from medalist.training.queue_status import LineDisplay
from medalist.training.ray_environment import starting_ray


@pytest.mark.slow
def test_every_port_of_a_queue_is_on_the_loopback_interface() -> None:
    """Not in a namespace without a network: there Ray has no other address to listen on."""
    ended = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=300, check=True)
    found: list[str] = json.loads(ended.stdout.splitlines()[-1])
    assert len(found) >= 4
    for address in found:
        ip = ipaddress.ip_address(address)
        assert (getattr(ip, "ipv4_mapped", None) or ip).is_loopback, found


def test_what_ray_reads_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import ray_constants

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    before, clusters = dict(os.environ), ray_constants.ENABLE_RAY_CLUSTER
    for alone in (True, False):
        with starting_ray(alone):
            assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
            assert (clusters and not alone) == ray_constants.ENABLE_RAY_CLUSTER
        assert dict(os.environ) == before and clusters == ray_constants.ENABLE_RAY_CLUSTER


def main() -> None:
    """Start a queue with a worker, and print the addresses on which its processes listen."""
    import ray

    with FoldQueue(lambda *_: None, 1, None, lambda: LineDisplay(lambda line: None)) as queue:
        queue._start()
        ray.get(ray.remote(lambda: 1 + os.getpid()).remote())
        this = psutil.Process()
        every = [one for process in (this, *this.children(recursive=True)) for one in process.net_connections("inet")]
        sys.stdout.write(json.dumps(sorted(one.laddr.ip for one in every if one.status == psutil.CONN_LISTEN)))


if __name__ == "__main__":
    main()
