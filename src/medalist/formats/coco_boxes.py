"""Submissions of boxes as JSON in the form of COCO: a list with an object for each box.

`{"image_id": 42, "category_id": 18, "bbox": [x, y, width, height], "score": 0.9}`; an image without boxes has none.
Other keys are allowed and not read. Source: https://cocodataset.org/#format-results
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from medalist.codecs.boxes import XYWH, BoxCoordinates
from medalist.errors import SubmissionError
from medalist.files import reason
from medalist.formats.box_words import BoxWords
from medalist.formats.boxes import no_boxes
from medalist.formats.submission import Problem, by_row, refuse, shortened
from medalist.reading import JSON_BYTES, read_bytes
from medalist.records import Answer, Boxes, Sample

_KEYS = ("image_id", "category_id", "bbox", "score")


@dataclass(frozen=True)
class CocoBoxesFormat:
    """A submission of boxes as a JSON list.

    classes: the classes of the contest, in its order; one is allowed.
    categories: the `category_id` of each class. COCO's own have gaps, and there is no background.
    numbers: whether the ids of images are written as whole numbers, as in COCO; else as texts.
    coordinates, decimals, score_decimals: as of `BoxWords`; `bbox` is x, y, width, height in pixels from 0.
    In problems, rows are the objects of the list, counted from 1.
    """

    classes: tuple[str, ...] = field(kw_only=True)
    categories: tuple[int, ...] = field(kw_only=True)
    numbers: bool = field(default=True, kw_only=True)
    coordinates: BoxCoordinates = field(default=XYWH, kw_only=True)
    decimals: int | None = field(default=None, kw_only=True)
    score_decimals: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Assert the rules that the types do not express."""
        assert not self.coordinates.normalised, "COCO counts in pixels"
        assert self._words.names[0] == "label"

    @property
    def suffix(self) -> str:
        """How the name of a submission ends."""
        return ".json"

    def write(self, path: Path, answers: Iterable[tuple[str, Answer]]) -> int:
        """Write the answers to a new file, an object on each line; return the number of boxes.

        Raises SubmissionError as `BoxWords.words` does, and for an id that is no whole number where it must be one.
        """
        count = 0
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write("[")
            for sample_id, answer in answers:
                image = self._image(sample_id)
                for label, score, *four in self._words.words(sample_id, answer):
                    box = dict(zip(_KEYS, (image, int(label), [float(one) for one in four], float(score)), strict=True))
                    file.write(f"{',' if count else ''}\n{json.dumps(box, ensure_ascii=False)}")
                    count += 1
            file.write("\n]\n")
        return count

    def parse(self, path: Path, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Read the answers back, one for each sample in their order, with boxes in the order of the file.

        Raises SubmissionError on the first problem that `validate` would find.
        """
        answers: dict[str, Answer] = {}
        refuse(path, self._read(path, samples, answers))
        return answers

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Return the first problem of each object of the list, in their order.

        `reference`, the sample submission, says nothing more than the samples, because objects may be in any order.
        """
        return self._read(path, samples)

    @cached_property
    def _words(self) -> BoxWords:
        return BoxWords(
            classes=self.classes,
            labels=tuple(map(str, self.categories)),
            coordinates=self.coordinates,
            decimals=self.decimals,
            score_decimals=self.score_decimals,
        )

    def _image(self, sample_id: str) -> int | str:
        if not self.numbers:
            return sample_id
        if not (sample_id.isascii() and sample_id.isdigit() and str(int(sample_id[:20])) == sample_id):
            raise SubmissionError(f"image {shortened(sample_id)}: the contest asks for ids that are whole numbers")
        return int(sample_id)

    def _read(self, path: Path, samples: Sequence[Sample], keep: dict[str, Answer] | None = None) -> list[Problem]:
        found, problem = _listed(path)
        if problem is not None:
            return [problem]
        problems: list[Problem] = []
        sizes: Mapping[int | str, tuple[int, int]] = {self._image(sample.id): sample.size for sample in samples}
        numbers: dict[int | str, list[int]] = {image: [] for image in sizes}
        words: dict[int | str, list[str]] = {image: [] for image in sizes}
        for number, one in enumerate(found):
            fault = self._fault(one, sizes)
            if fault is not None:
                problems.append(Problem(number + 1, *fault))
            else:
                numbers[one["image_id"]].append(number)
                words[one["image_id"]] += _said(one)
        for sample in samples:
            image = self._image(sample.id)
            boxes = self._words.parsed(words[image], sample.size) if words[image] else no_boxes()
            if not isinstance(boxes, Boxes):
                problems += self._explained([(number, found[number]) for number in numbers[image]], sample.size)
            elif keep is not None:
                keep[sample.id] = boxes
        return by_row(problems)

    def _explained(self, objects: Sequence[tuple[int, Any]], size: tuple[int, int]) -> list[Problem]:
        """The first problem of each of these objects of one image."""
        problems = []
        for number, one in objects:
            boxes = self._words.parsed(_said(one), size)
            if not isinstance(boxes, Boxes):
                key = ("category_id", "score", "bbox")[min(boxes[0], 2)]
                problems.append(Problem(number + 1, key, _shown(one[key]), boxes[2]))
        return problems

    def _fault(self, one: Any, sizes: Mapping[int | str, tuple[int, int]]) -> tuple[str | None, str, str] | None:
        """The key, value and rule of the first fault of an object, as far as its types and its image are concerned."""
        if not isinstance(one, dict):
            return None, _shown(one), f"must be an object with the keys {', '.join(_KEYS)}"
        missing = next((key for key in _KEYS if key not in one), None)
        if missing is not None:
            return missing, _shown(one), "this key is missing"
        image, category, four, score = (one[key] for key in _KEYS)
        key, rule = "", ""
        if isinstance(image, bool) or not isinstance(image, int | str) or image not in sizes:
            hint = "; write it as a text" if not self.numbers and isinstance(image, int) and str(image) in sizes else ""
            key, rule = "image_id", f"no image of this id is asked for{hint}"
        elif isinstance(category, bool) or not isinstance(category, int):
            key, rule = "category_id", "must be a whole number"
        elif not (isinstance(four, list) and len(four) == len(self.coordinates.names) and all(map(_is_number, four))):
            key, rule = "bbox", f"must be four numbers: {', '.join(self.coordinates.names)}"
        elif not _is_number(score):
            key, rule = "score", "must be a number"
        return (key, _shown(one[key]), rule) if rule else None


def _said(one: Mapping[str, Any]) -> list[str]:
    """The words of a box that an object says: its label, its score and its four numbers."""
    four = (repr(float(value)) for value in one["bbox"])
    return [str(one["category_id"]), repr(float(one["score"])), *four]


def _listed(path: Path) -> tuple[list[Any], Problem | None]:
    """The objects of a file, or the one problem why there are none."""
    try:
        raw = read_bytes(path, JSON_BYTES)
    except OSError as error:
        raise SubmissionError(f"{path}: cannot be read ({error.strerror}); name the JSON file to be sent") from error
    try:
        found = json.loads(raw, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        return [], Problem(None, None, "", f"not JSON ({reason(error)})")
    if not isinstance(found, list):
        return [], Problem(None, None, _shown(found), "must be a list with an object for each box")
    return found, None


def _whole(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def _shown(value: Any) -> str:
    try:
        return shortened(json.dumps(value))
    except RecursionError:
        return "(deep)"
