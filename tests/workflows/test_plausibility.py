"""Truths that decode and are wrong all the same are found, and sound ones give no word."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medalist import layouts
from medalist.codecs.images import Orientation, upright
from medalist.codecs.rle import Order, decode_mask, encode_mask
from medalist.competition import Competition
from medalist.contest import Contest
from medalist.discovery.outlines import coherence, contrast_rank
from medalist.errors import DataError
from medalist.formats.rle import RleFormat
from medalist.metrics.masks import mean_dice
from medalist.records import Answer, Mask, Sample, Split
from medalist.reporter import SilentReporter
from medalist.workflows.check import WARNING, check, images_decode, truths_decode
from medalist.workflows.plausibility import implausible_truths

Bools = NDArray[np.bool_]


def blob(seed: int, size: tuple[int, int]) -> tuple[NDArray[np.uint8], Bools]:
    """An image with noise and one bright blob at some place, and the mask of the blob."""
    random = np.random.default_rng(seed)
    height, width = size
    mask = np.zeros(size, np.uint8)
    centre = (int(random.integers(width // 5, width * 2 // 5)), int(random.integers(height // 5, height * 2 // 5)))
    cv2.ellipse(mask, centre, (width // 7, height // 6), float(random.integers(0, 90)), 0, 360, 1, -1)
    image = random.normal(90, 12, (*size, 3)) + 60 * mask[..., None]
    return np.clip(image, 0, 255).astype(np.uint8), mask > 0


def contest_of(
    root: Path,
    codes: dict[str, str],
    order: Order = "column",
    orientation: Orientation = "shown",
    truth: Callable[[Path, Sample], Answer] | None = None,
) -> Contest:
    """A contest of the images in root/train, with a code for each. Its test part has one image."""
    test = layouts.images_in_folder(root, "test")
    split = layouts.read_split(
        layouts.images_in_folder(root, "train"),
        test,
        {name: (code,) for name, code in codes.items()},
        orientation=orientation,
    )
    competition = Competition(
        name="blobs",
        read=lambda data: split,
        truth=truth or (lambda data, sample: layouts.mask(data / "train.csv", sample, order=order)),
        score=mean_dice,
        submission=RleFormat(("id", "rle"), order=order, row_per="image"),
        sample_submission=None,
        orientation=orientation,
    )
    return Contest(competition, root, split)


def drawn(root: Path, size: tuple[int, int] = (40, 64), count: int = 10) -> dict[str, Bools]:
    masks = {}
    for part in ("train", "test"):
        (root / part).mkdir(parents=True)
    for number in range(count):
        image, masks[f"s{number:02}"] = blob(number, size)
        Image.fromarray(image).save(root / "train" / f"s{number:02}.png")
    Image.fromarray(blob(99, size)[0]).save(root / "test" / "t.png")
    return masks


def encoded(masks: dict[str, Bools], order: Order = "column") -> dict[str, str]:
    return {name: encode_mask(mask, order) for name, mask in masks.items()}


def warnings_of(contest: Contest) -> list[str]:
    turned = images_decode(contest, SilentReporter()).turned
    return list(implausible_truths(contest, truths_decode(contest), turned))


def only_line(contest: Contest) -> str:
    lines = warnings_of(contest)
    assert len(lines) == 1, lines
    assert "\n" not in lines[0]
    return lines[0]


def test_sound_truths_give_no_word(tmp_path: Path, quiet: SilentReporter) -> None:
    contest = contest_of(tmp_path, encoded(drawn(tmp_path)))
    lines = list(check(contest, quiet))
    assert not [line for line in lines if line.startswith(WARNING)]
    assert "perfect answers, written and parsed back, score 1.000000" in lines


# -------------------------------------------------------------------------------- the order of run-length codes


def test_codes_of_the_other_order_are_implausible(tmp_path: Path, quiet: SilentReporter) -> None:
    masks = drawn(tmp_path)
    for made, read in (("row", "column"), ("column", "row")):
        contest = contest_of(tmp_path, encoded(masks, made), read)  # type: ignore[arg-type]
        text = only_line(contest)
        assert f"are read in {read} order, where outlines are " in text
        assert f"times as long as in {made} order" in text and "means of 10 samples" in text
        assert f"type order='{made}'" in text
        assert f"{WARNING}{text}" in list(check(contest, quiet))


def test_codes_that_are_counted_from_0_are_looked_at_too(tmp_path: Path) -> None:
    codes = {name: encode_mask(mask, "row", 0) for name, mask in drawn(tmp_path).items()}
    contest = contest_of(
        tmp_path, codes, truth=lambda data, sample: layouts.mask(data / "train.csv", sample, "column", 0)
    )
    assert "type order='row'" in only_line(contest)


def test_a_single_code_of_the_other_order_is_implausible(case: Callable[[str], Path], tmp_path: Path) -> None:
    with case("rle.csv").open(newline="") as file:
        rows = {(row["id"], row["order"]): row["rle"] for row in csv.DictReader(file)}
    image = Image.open(case("upright.png"))
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
    image.save(tmp_path / "train" / "upright.png")
    image.save(tmp_path / "test" / "t.png")
    assert "times as long as in row order" in only_line(contest_of(tmp_path, {"upright": rows["upright", "row"]}))
    assert not warnings_of(contest_of(tmp_path, {"upright": rows["upright", "column"]}))
    with Image.open(case("mask.png")) as mask:
        truth = truths_decode(contest_of(tmp_path, {"upright": rows["upright", "column"]}))["upright"]
        assert isinstance(truth, Mask)
        assert np.array_equal(truth.classes, np.asarray(mask.convert("L")) > 127)


def test_the_other_order_of_square_images_is_found_by_contrast(tmp_path: Path) -> None:
    masks = drawn(tmp_path, (48, 48))
    wrong = {name: np.roll(mask, 9, axis=1) for name, mask in masks.items()}  # not on the diagonal
    for name, mask in wrong.items():
        path = tmp_path / "train" / f"{name}.png"
        Image.fromarray(np.roll(np.asarray(Image.open(path)), 9, axis=1)).save(path)
        assert mask.any()
    text = only_line(contest_of(tmp_path, encoded(wrong, "row"), "column"))
    assert "better with rows and columns exchanged" in text and "`order`" in text
    assert not warnings_of(contest_of(tmp_path, encoded(wrong), "column"))


def test_bands_over_the_whole_picture_are_no_sign_of_another_order(tmp_path: Path) -> None:
    """Their outlines are shorter in the other order, and they are coherent all the same."""
    drawn(tmp_path, (30, 90))
    masks = {}
    for number in range(10):
        mask = np.zeros((30, 90), np.bool_)
        mask[number : number + 9] = True
        image = (np.random.default_rng(number).normal(90, 9, (30, 90, 3)) + 60 * mask[..., None]).clip(0, 255)
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / "train" / f"s{number:02}.png")
        masks[f"s{number:02}"] = mask
    assert not warnings_of(contest_of(tmp_path, encoded(masks, "row"), "row"))
    assert not warnings_of(contest_of(tmp_path, encoded(masks, "column"), "column"))


def test_coherence_by_hand() -> None:
    mask = np.zeros((4, 6), np.bool_)
    mask[1:3, 1:5] = True
    assert coherence(mask) == pytest.approx(min(4 / 12, 6 / 10))
    assert coherence(np.ones((3, 3), np.bool_)) == 1
    assert coherence(np.indices((6, 6)).sum(axis=0) % 2 == 0) == 0


# -------------------------------------------------------------------------------- orientation


def turned(root: Path, orientation: int, size: tuple[int, int] = (40, 64)) -> dict[str, Bools]:
    """Images that are stored with an EXIF orientation, and their masks as stored."""
    masks = drawn(root, size)
    exif = Image.Exif()
    exif[274] = orientation
    for name in masks:
        path = root / "train" / f"{name}.png"
        Image.fromarray(np.asarray(Image.open(path))).save(path, exif=exif)
    return masks


def as_shown(mask: Bools, orientation: int) -> Bools:
    return np.ascontiguousarray(upright(mask.view(np.uint8), orientation)).view(np.bool_)


@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
def test_codes_of_stored_pixels_beside_exif_are_named(tmp_path: Path, orientation: int) -> None:
    masks = turned(tmp_path, orientation)
    text = only_line(contest_of(tmp_path, encoded(masks)))
    assert f"have an EXIF orientation (the first is sample s00, orientation {orientation})" in text
    assert "their truths fit the pixels as stored" in text and "type orientation='stored'" in text
    stored = contest_of(tmp_path, encoded(masks), orientation="stored")
    assert not warnings_of(stored)
    assert stored.split.train[0].size == (40, 64)


@pytest.mark.parametrize("orientation", [3, 6])
def test_codes_of_shown_pixels_beside_exif_give_no_word(tmp_path: Path, orientation: int) -> None:
    masks = {name: as_shown(mask, orientation) for name, mask in turned(tmp_path, orientation).items()}
    assert not warnings_of(contest_of(tmp_path, encoded(masks)))
    text = only_line(contest_of(tmp_path, encoded(masks), orientation="stored"))
    assert "type orientation='shown'" in text


def test_a_turned_photograph_is_answered_as_stored(case: Callable[[str], Path], tmp_path: Path) -> None:
    with case("rle.csv").open(newline="") as file:
        code = next(row["rle"] for row in csv.DictReader(file) if row["id"].startswith("turned"))
    for part, name in (("train", "turned"), ("test", "t")):
        (tmp_path / part).mkdir()
        (tmp_path / part / f"{name}.jpg").write_bytes(case("turned.jpg").read_bytes())
    with Image.open(case("mask.png")) as mask:
        right = np.asarray(mask.convert("L")) > 127
    stored = contest_of(tmp_path, {"turned": code}, orientation="stored")
    truth = truths_decode(stored)["turned"]
    assert isinstance(truth, Mask) and np.array_equal(truth.classes, right)
    assert stored.competition.image(stored.split.test[0].images[0]).shape[:2] == right.shape
    form = stored.competition.submission
    answer = form.rows("t", truth)[0][1]
    assert np.array_equal(decode_mask(answer, stored.split.test[0].size), right)
    assert "EXIF" in only_line(contest_of(tmp_path, {"turned": code}))
    assert not warnings_of(stored)


@pytest.mark.parametrize("orientation", [2, 4, 5, 7, 8])
@pytest.mark.parametrize("size", [(40, 64), (48, 48)])
def test_mask_files_beside_exif_are_doubted_only_where_they_do_not_fit(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    """Also where the orientation exchanges rows and columns: there the size of the file tells, or the outlines do."""
    stored = turned(tmp_path, orientation, size)
    (tmp_path / "masks").mkdir()

    def contest(on_stored: bool, said: Orientation) -> Contest:
        for name, mask in stored.items():
            pixels = mask if on_stored else as_shown(mask, orientation)
            Image.fromarray(pixels.astype(np.uint8) * 255).save(tmp_path / "masks" / f"{name}.png")
        return contest_of(
            tmp_path,
            {name: f"masks/{name}.png" for name in stored},
            orientation=said,
            truth=layouts.mask_picture,
        )

    assert not warnings_of(contest(False, "shown")) and not warnings_of(contest(True, "stored"))
    if size[0] == size[1] or orientation < 5:
        assert "their truths fit the pixels as stored" in only_line(contest(True, "shown"))
        assert "their truths fit the pixels as shown" in only_line(contest(False, "stored"))
    else:
        with pytest.raises(DataError, match="type orientation='stored'"):
            truths_decode(contest(True, "shown"))


def test_masks_of_the_stored_size_name_exif(tmp_path: Path) -> None:
    masks = turned(tmp_path, 6)
    contest = contest_of(
        tmp_path, dict.fromkeys(masks, ""), truth=lambda data, sample: Mask(masks[sample.id].astype(np.uint8))
    )
    with pytest.raises(DataError, match=r"it has an EXIF orientation: type orientation='stored'"):
        truths_decode(contest)


# -------------------------------------------------------------------------------- truths of other pictures


def test_truths_of_other_pictures_have_no_contrast(tmp_path: Path) -> None:
    masks = drawn(tmp_path, count=24)
    names = sorted(masks)
    moves = ((0, 28), (18, 0), (18, 28))
    far = {name: np.roll(masks[name], moves[number % 3], (0, 1)) for number, name in enumerate(names)}
    text = only_line(contest_of(tmp_path, encoded(far)))
    assert "truths have no contrast to their surroundings" in text and "chance is 50 %" in text
    assert "mean of 24 samples" in text


@pytest.mark.parametrize("how", ["left to right", "upside down"])
def test_mirrored_truths_are_named(tmp_path: Path, how: str) -> None:
    masks = drawn(tmp_path)
    turn = (slice(None), slice(None, None, -1)) if how == "left to right" else (slice(None, None, -1),)
    text = only_line(contest_of(tmp_path, encoded({name: mask[turn] for name, mask in masks.items()})))
    assert how in text and "in 100 % of 10 samples" in text


def test_a_few_samples_without_contrast_are_no_proof(tmp_path: Path) -> None:
    masks = drawn(tmp_path, count=4)
    far = {name: np.roll(mask, (17, 29), (0, 1)) for name, mask in masks.items()}
    assert not [line for line in warnings_of(contest_of(tmp_path, encoded(far))) if "contrast" in line]


def test_contrast_ranks_by_hand() -> None:
    steps = np.zeros((40, 40), np.float32)
    mask = np.zeros((40, 40), np.bool_)
    mask[10:20, 10:20] = True
    assert contrast_rank(steps, mask) == 0.5
    steps[9:21, 9:21] = 5
    assert contrast_rank(steps, mask) == 1
    assert contrast_rank(steps, np.zeros_like(mask)) == 0.5


def test_empty_and_full_truths_say_nothing(tmp_path: Path) -> None:
    masks = drawn(tmp_path)
    codes = dict.fromkeys(masks, "") | {"s00": "1 2560"}
    assert not warnings_of(contest_of(tmp_path, codes))


# -------------------------------------------------------------------------------- classes


def test_several_classes_are_refused_before_training(tmp_path: Path, quiet: SilentReporter) -> None:
    masks = drawn(tmp_path)
    ids = {name: mask.astype(np.uint8) * (1 + number % 3) for number, (name, mask) in enumerate(masks.items())}
    ids["s00"][0, :3] = (2, 3, 255)
    contest = contest_of(tmp_path, dict.fromkeys(masks, ""), truth=lambda data, sample: Mask(ids[sample.id]))
    for call in (lambda: contest.truth(contest.split.train[0]), lambda: list(check(contest, quiet))):
        with pytest.raises(DataError) as raised:
            call()
        text = str(raised.value)
        assert "sample s00: its mask has the values 0, 1, 2, 3, 255 (void)" in text or "bad truths" in text
        assert "foreground=(1,)" in text
    with pytest.raises(DataError, match="has the values 0, 2, and"):  # one class in each mask, and several in all
        contest.truth(contest.split.train[1])


def test_masks_of_0_and_255_are_one_class(tmp_path: Path) -> None:
    masks = drawn(tmp_path)
    contest = contest_of(
        tmp_path,
        dict.fromkeys(masks, ""),
        truth=lambda data, sample: Mask(masks[sample.id].astype(np.uint8) * np.uint8(255)),
    )
    assert len(truths_decode(contest)) == 10


# -------------------------------------------------------------------------------- real data


def test_real_damage_gives_no_word(contest_data: Callable[[str], Path]) -> None:
    root = contest_data("bsd_pitting")
    codes = layouts.read_annotations(root / "train.csv", "id", "rle_mask", row_per="image")
    train = [(name, path) for name, path in layouts.images_in_folder(root, "train_images") if codes[name]][::20]
    split = layouts.read_split(
        train, layouts.images_in_folder(root, "test_images")[:1], {n: codes[n] for n, _ in train}
    )
    for order in ("column", "row"):
        competition = Competition(
            "pits",
            lambda data: split,
            lambda data, sample, order=order: layouts.mask(data / "train.csv", sample, order),
            mean_dice,
            RleFormat(order=order, row_per="image"),
        )
        found = warnings_of(Contest(competition, root, split))
        assert bool(found) == (order == "row"), found


def test_real_nuclei_give_no_word(contest_data: Callable[[str], Path]) -> None:
    root = contest_data("dsb2018")
    codes = layouts.read_annotations(root / "stage1_train_labels.csv", "ImageId", "EncodedPixels")
    named: Sequence[tuple[str, Path]] = [
        (name, root / "stage1_train" / name / "images" / f"{name}.png") for name in sorted(codes)[::50]
    ]
    split = Split(tuple(replace(one, annotation=codes[one.id]) for one in layouts.with_sizes(named)), ())
    for order in ("column", "row"):
        competition = Competition(
            "nuclei",
            lambda data: split,
            lambda data, sample, order=order: layouts.instances(data / "train.csv", sample, order),
            mean_dice,
            RleFormat(order=order),
        )
        found = warnings_of(Contest(competition, root, split))
        assert bool(found) == (order == "row"), found
