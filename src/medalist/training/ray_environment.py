"""How Ray is started: no usage reports, devices as they are, and on one machine only the loopback interface."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def starting_ray(alone: bool) -> Iterator[None]:
    """Set what Ray reads while it starts, and restore the old values afterwards.

    Usage reports are off, and CUDA_VISIBLE_DEVICES stays unchanged for tasks without GPUs. alone: whether all of Ray is
    on this machine. Its ports then listen on 127.0.0.1 alone. Ray has no setting for this on Linux: it replaces a node
    address of 127.0.0.1 by the machine's own, unless it takes clusters to be switched off, as on Windows and macOS.
    """
    from ray._private import ray_constants

    wanted = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    if alone:
        wanted["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # for the processes that Ray starts
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    clusters = ray_constants.ENABLE_RAY_CLUSTER  # this process has read the variable when it imported Ray
    ray_constants.ENABLE_RAY_CLUSTER = clusters and not alone
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
