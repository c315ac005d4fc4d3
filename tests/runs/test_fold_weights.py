"""A fold's weights say whose they are."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
from refusals import one_line
from safetensors.numpy import load_file, save_file

from medalist.errors import RunError
from medalist.files import sha256_file
from medalist.kinds import run_settings
from medalist.reporter import SilentReporter
from medalist.runs.fold_weights import keep_hashes, note_of, read_note, refuse_other_fold, weights_hash
from medalist.workflows.score import score_run
from medalist.workflows.submit import submit


def test_weights_name_their_fold_their_config_and_their_folds(trained: Any) -> None:
    run = trained.run
    for fold in (0, 1):
        for keep in ("last", "best"):
            assert read_note(run.checkpoint(fold, keep)) == note_of(fold, run.lock())
        written = json.loads((run.fold_folder(fold) / "weights.json").read_text())
        assert written == {f"{keep}.safetensors": sha256_file(run.checkpoint(fold, keep)) for keep in ("best", "last")}
        assert weights_hash(run, fold, "last") == written["last.safetensors"]


def test_weights_of_another_fold_are_refused_everywhere(toy: Any, quiet: SilentReporter) -> None:
    """The network of fold 0 has seen what fold 1 holds out, so its score there would be a leak."""
    run, contest, settings = toy.run, toy.contest(), run_settings(toy.run)
    shutil.copy(run.checkpoint(0, "last"), run.checkpoint(1, "last"))
    from medalist.kinds import kind_of

    training = kind_of(settings).training()
    for call in (
        lambda: score_run(run, contest, settings, quiet),
        lambda: training.predict(run, settings, contest, 1, quiet),
        lambda: submit([run], toy.runs / "s.csv", None, toy.runs, quiet),
    ):
        message = one_line(RunError, call)
        assert (
            f"{run.checkpoint(1, 'last')} holds the weights of fold 0" in message and "train that fold again" in message
        )


def test_weights_of_another_config_or_of_other_folds_are_refused(toy: Any) -> None:
    run = toy.run
    path = run.checkpoint(0, "last")
    tensors = load_file(path)
    for what, words in (("config", "a run of other configs"), ("folds", "a run of other folds")):
        note = {**note_of(0, run.lock()), what: "0" * 64}
        save_file(tensors, path, metadata={"medalist": json.dumps(note)})
        assert f"holds the weights of {words}" in one_line(RunError, lambda: refuse_other_fold(run, 0, "last"))


def test_weights_that_changed_after_their_training_are_refused(toy: Any) -> None:
    run = toy.run
    path = run.checkpoint(0, "last")
    tensors = {name: np.asarray(value + 1) for name, value in load_file(path).items()}
    save_file(tensors, path, metadata={"medalist": json.dumps(note_of(0, run.lock()))})
    assert "is not what the training of fold 0 wrote" in one_line(RunError, lambda: weights_hash(run, 0, "last"))
    keep_hashes(run, 0)  # as the end of a training does
    weights_hash(run, 0, "last")


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{}"])
def test_files_that_say_nothing_are_left_to_who_reads_them(toy: Any, data: bytes) -> None:
    toy.run.checkpoint(0, "last").write_bytes(data)
    assert read_note(toy.run.checkpoint(0, "last")) is None
    refuse_other_fold(toy.run, 0, "last")
