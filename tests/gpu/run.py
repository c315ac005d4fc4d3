"""`make test-gpu`: says what this machine has and what is missing, runs the tests of this folder, then the benchmark.

python tests/gpu/run.py [--device cpu] [--seconds 355]

It needs neither `make setup` nor a network: any Python that has torch and its companions will do, in any version from
2.11 on. Exit codes: 0; 1 where a test or the benchmark failed or ran out of time; 2 where nothing could be run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PROJECT = Path(__file__).parents[2]
HERE = Path(__file__).parent
BENCHMARK_SECONDS = 85
RESERVE = 20
"""Seconds beyond those in which the benchmark's last part may end."""

LAST = ("test_commands.py", "test_compile.py")
"""The slowest files: what the time does not suffice for is among them."""


EVERYTHING, MAPS, COMMANDS = "everything", "trainings, maps, commands and the benchmark", "the commands"


@dataclass(frozen=True)
class Package:
    """A package: the name that is imported, those under which pip may know it, and what is left out without it."""

    module: str
    known_as: tuple[str, ...]
    least: tuple[int, ...] = ()
    without: str = EVERYTHING

    @property
    def version(self) -> str:
        """As pip knows it; a package may be part of another one."""
        for name in self.known_as:
            try:
                return version(name)
            except PackageNotFoundError:
                continue
        return "of unknown version"

    @property
    def wanted(self) -> str:
        """What to install."""
        least = f">={'.'.join(map(str, self.least))}" if self.least else ""
        return f"{self.known_as[0]}{least}"


PACKAGES = (
    Package("torch", ("torch",), (2, 11)),
    Package("torchvision", ("torchvision",)),
    Package("timm", ("timm",), (1, 0)),
    Package("lightning_fabric", ("lightning-fabric", "pytorch-lightning"), (2, 5)),
    Package("albumentations", ("albumentations",), (2,)),
    Package("pydantic", ("pydantic",), (2,)),
    Package("omegaconf", ("omegaconf",)),
    Package("cv2", ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless")),
    Package("numpy", ("numpy",), (2,)),
    Package("scipy", ("scipy",)),
    Package("PIL", ("pillow",)),
    Package("yaml", ("pyyaml",)),
    Package("safetensors", ("safetensors",)),
    Package("huggingface_hub", ("huggingface-hub",)),
    Package("pytest", ("pytest",), (8,), "all tests"),
    Package("segmentation_models_pytorch", ("segmentation-models-pytorch",), (0, 5), MAPS),
    Package("psutil", ("psutil",), (), COMMANDS),
    Package("typer", ("typer",), (), COMMANDS),
    Package("rich", ("rich",), (), COMMANDS),
    Package("skimage", ("scikit-image",), (), COMMANDS),
    Package("matplotlib", ("matplotlib",), (), COMMANDS),
    Package("jinja2", ("jinja2",), (), COMMANDS),
    Package("triton", ("triton",), (), "torch.compile on a GPU"),
)


def numbers(text: str) -> tuple[int, ...]:
    """`2.11.0+cu130` -> (2, 11, 0)."""
    found: list[int] = []
    for part in text.partition("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
    return tuple(found)


def is_there(package: Package) -> bool:
    """Whether it is found, in a version that will do."""
    if find_spec(package.module) is None:
        return False
    found = numbers(package.version)
    return not (package.least and found and found[: len(package.least)] < package.least)


def survey(packages: Sequence[Package], here: Mapping[str, bool], python: str) -> list[str]:
    """The lines that say what this Python has, and for each missing package what is left out."""
    known = ", ".join(f"{one.module} {one.version}" for one in packages if here[one.module])
    lines = [f"{python}: {known or 'none of the packages'}"]
    missing = [one for one in packages if not here[one.module]]
    if any(one.without == EVERYTHING for one in missing):
        missing = [replace(one, without=EVERYTHING) for one in missing]
    for without in dict.fromkeys(one.without for one in missing):
        names = ", ".join(one.wanted for one in missing if one.without == without)
        lines.append(f"missing: {names}; left out: {without}")
    if len(lines) > 1:
        lines.append("install them, or make PYTHON=... test-gpu with a Python that has them (see docs/training.md)")
    return lines


def broken(packages: Sequence[Package]) -> list[str]:
    """A line for each package that is found but cannot be imported, as one that lacks a package of its own."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import would ask the network for a newer version
    lines = []
    for one in packages:
        try:
            import_module(one.module)
        except (ImportError, OSError) as error:  # OSError: a library of the system is missing
            lines.append(f"{one.module} cannot be imported: {' '.join(str(error).split())[:200]}")
    return lines


def tests_for(here: Mapping[str, bool], gpus: int, core: bool) -> list[str]:
    """The files of tests, the slowest last; with two GPUs and the compiled core also those of several processes."""
    if not here["pytest"]:
        return []
    names = sorted(path.name for path in HERE.glob("test_*.py"))
    found = [str(HERE / name) for name in (*(one for one in names if one not in LAST), *LAST)]
    several = here["segmentation_models_pytorch"] and core and gpus > 1
    return [*found, str(PROJECT / "tests" / "engine" / "test_devices.py")] if several else found


def run_for(command: Sequence[str], seconds: float, environment: Mapping[str, str]) -> int | None:
    """Run a command in a session of its own: its exit code, None where the time was up and it was ended.

    It is first interrupted, as by Ctrl-C, so that pytest says what it has found so far.
    """
    process = subprocess.Popen(command, cwd=PROJECT, env={**os.environ, **environment}, start_new_session=True)
    try:
        return process.wait(max(1.0, seconds))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            say("it does not end by itself, and is killed")
        return None
    finally:
        _end_session(process)


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of it, loader workers too."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def devices(wanted: str) -> tuple[int, str]:
    """How many GPUs torch can use, and a line on them."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        return 0, f"no GPU that torch {torch.__version__} ({built}) can use"
    names = ", ".join(torch.cuda.get_device_name(number) for number in range(count))
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), "no C compiler: no torch.compile")
    return count, f"{count} GPU: {names}; CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, {compiler}"


def environment_of(device: str) -> dict[str, str]:
    """No network, no plugins of pytest, the sources of this checkout; no GPU where a processor is asked for."""
    before = os.environ.get("PYTHONPATH")
    shared = {
        "PYTHONPATH": os.pathsep.join([str(PROJECT / "src"), *([before] if before else [])]),
        "MEDALIST_OFFLINE": "1",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return shared if device == "cuda" else {**shared, "CUDA_VISIBLE_DEVICES": ""}


def say(line: str) -> None:
    """Lines are seen in their place among those of the programs that are started."""
    sys.stdout.write(f"test-gpu: {line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=355, help="for all of it")
    options = parser.parse_args()
    began = time.monotonic()
    here = {one.module: is_there(one) for one in PACKAGES}
    for line in survey(PACKAGES, here, f"{sys.executable} {sys.version.split()[0]}"):
        say(line)
    if not all(here[one.module] for one in PACKAGES if one.without == EVERYTHING):
        return 2
    bad = broken([one for one in PACKAGES if one.without in (EVERYTHING, MAPS) and here[one.module]])
    if bad:
        for line in bad:
            say(line)
        return 2
    gpus, line = devices(options.device)
    say(line)
    if options.device == "cuda" and not gpus:
        say("nothing was run; make test-gpu DEVICE=cpu runs the same tests on the processor")
        return 2
    bad = _tests(options.device, here, gpus, began + options.seconds - BENCHMARK_SECONDS - RESERVE)
    bad += _benchmark(options.device, here, began + options.seconds)
    say(f"{time.monotonic() - began:.0f} s; {'; '.join(bad) or 'all is well'}")
    return 1 if bad else 0


def _tests(device: str, here: Mapping[str, bool], gpus: int, end: float) -> list[str]:
    """What went wrong."""
    core = find_spec("pytorch_metric_learning") is not None and any((PROJECT / "src/medalist/search").glob("_ann*.so"))
    files = tests_for(here, gpus if device == "cuda" else 0, core)
    if not files:
        return ["tests left out: no pytest"]
    marks = "gpu" if device == "cuda" else "not gpu and not slow"
    alone = ["-c", str(HERE / "gpu.ini"), "--rootdir", str(PROJECT), "--confcutdir", str(HERE)]
    usual = ["-p", "no:cacheprovider", "--durations=8", "-m", marks]
    command = [sys.executable, "-m", "pytest", *alone, *usual, *files]
    code = run_for(command, end - time.monotonic(), environment_of(device))
    if code is None:
        say("the time for tests is up; what stands above is what was run")
    return [] if code == 0 else ["tests failed"]


def _benchmark(device: str, here: Mapping[str, bool], end: float) -> list[str]:
    """What went wrong."""
    if not here["segmentation_models_pytorch"]:
        return ["benchmark left out: no segmentation_models_pytorch"]
    left = end - time.monotonic()
    seconds = f"{min(BENCHMARK_SECONDS, left - RESERVE):.0f}"
    command = [sys.executable, str(PROJECT / "benchmarks" / "gpu.py"), "--device", device, "--seconds", seconds]
    code = run_for(command, left, environment_of(device))
    if code is None:
        say("the time for the benchmark is up")
    return [] if code == 0 else ["benchmark failed"]


if __name__ == "__main__":
    sys.exit(main())
