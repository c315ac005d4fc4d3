"""A wheel in a fresh environment does what a checkout does: the demo, a contest of the user's own, and Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from medalist.layouts.drawing import identity_picture, write_picture

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="paths of Unix")]

PROJECT = Path(__file__).parent.parent.parent
PREDICT = """
import medalist
from pathlib import Path
assert "site-packages" in medalist.__file__ and not Path("competitions").exists(), medalist.__file__
print(medalist.open_run("toy_nuclei/demo").answer(next(Path("runs/toy_nuclei/data").rglob("*.png"))).count)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this checkout; the build's files are kept in `build/`, so that a second time is quick."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(PROJECT),
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("medalist-*.whl")
    return found


@pytest.fixture(scope="module")
def home(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an environment `env` that has the wheel; its other packages are those of this environment.

    Those are found by their folder. Python does not follow the .pth files in it, so this checkout is not found.
    """
    home = tmp_path_factory.mktemp("home")
    venv.create(home / "env", with_pip=True, symlinks=True)
    python = home / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True)
    packages = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    (Path(packages.strip()) / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


def run(home: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `medalist` of the environment in a folder, without any compiler at hand."""
    folder.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDALIST", "PYTHON"))}
    path = {"PATH": str(home / "env" / "bin"), "MEDALIST_OFFLINE": "1"}
    return subprocess.run(
        [home / "env" / "bin" / words[0], *words[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        env=kept | path,
        check=False,
    )


def test_the_wheel_has_the_extension_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert any(re.fullmatch(r"medalist/search/_ann\..*\.(so|pyd)", name) for name in names)
    assert "medalist/shipped/configs/base/segment.yaml" in names
    assert "medalist/shipped/competitions/dsb2018/data.py" in names
    assert not [name for name in names if "tests/" in name or "conftest" in name or "__pycache__" in name]
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"medalist"}


def test_the_demo_and_then_python_where_only_the_wheel_is(home: Path) -> None:
    folder = home / "empty"
    ended = run(home, folder, "medalist", "demo")
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"submission\.csv \(\d+ rows, valid\)", ended.stdout)
    score = re.search(r"OOF score +(0\.\d+)", ended.stdout)
    assert score and float(score[1]) > 0.6
    asked = run(home, folder, "python", "-c", PREDICT)
    assert asked.returncode == 0 and int(asked.stdout) > 0, asked.stderr


def test_a_folder_with_a_contest_of_its_own(home: Path) -> None:
    """The worked example of docs/competition.md, in a folder that has nothing else."""
    folder = home / "mine"
    page = (PROJECT / "docs" / "competition.md").read_text(encoding="utf-8")
    example = page.partition("## A worked example")[2].partition("## The fields of")[0]
    for path, text in re.findall(
        r"`((?:competitions|configs)/\S+)`:\n\n```\w+\n(.*?)^```", example, re.DOTALL | re.MULTILINE
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    for part, count in (("train_images", 6), ("test_images", 2)):
        for number in range(count):
            write_picture(
                folder / "data" / part / f"{part[:2]}{number}.jpg", identity_picture(0, number, number, (64, 64))
            )
    rows = ["id,rle_mask", *(f"tr{number},{'1 5' if number % 2 else ''}" for number in range(6))]
    (folder / "data" / "train.csv").write_text("\n".join(rows) + "\n")
    sequences = ["id,sequence", *(f"tr{number},s{number}" for number in range(6)), "te0,t", "te1,t"]
    (folder / "data" / "train_meta.csv").write_text("\n".join(sequences) + "\n")
    (folder / "data" / "sample_submission.csv").write_text("id,rle_mask\nte0,\nte1,\n")
    for words in (
        ("check", "pits", "--data", "data"),
        ("folds", "configs/pits/unet_lite0.yaml", "--data", "data", "folds.n=2"),
        ("show", "configs/pits/unet_lite0.yaml"),
        ("check", "dsb2018", "--data", "nowhere"),
    ):
        ended = run(home, folder, "medalist", *words)
        assert ended.returncode == (2 if "nowhere" in words else 0), ended.stderr
    assert ended.stderr.startswith("medalist: no data folder nowhere")


def test_a_source_distribution_says_that_it_needs_a_compiler(tmp_path: Path) -> None:
    cmake = Path(sysconfig.get_path("scripts")) / "cmake"
    if not cmake.exists():
        pytest.skip("cmake is not in this environment")
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [str(cmake), "-S", str(PROJECT), "-B", str(tmp_path / "build"), "-G", "Unix Makefiles"]
    command.append(f"-DCMAKE_MAKE_PROGRAM={sys.executable}")
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode != 0 and "needs a C++20 compiler, and there is none" in " ".join(ended.stderr.split())
