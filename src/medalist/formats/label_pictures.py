"""Submissions of label pictures: a .zip with a PNG of class numbers for each image, as Cityscapes has it.

| contest | name | ids |
|---|---|---|
| Cityscapes (pixel-level) | {id}.png, or with a suffix of the method | 7, 8, 11, 12, ... of the 19 classes |
| ADE20K, PASCAL VOC | {id}.png | as the classes are numbered |

Pictures are gray with 8 bits. The archive is the same for the same answers, byte by byte.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medalist.codecs.class_tables import table_of_ids
from medalist.errors import SubmissionError
from medalist.files import reason
from medalist.formats.submission import Problem, meant, refuse, shortened, twins
from medalist.reading import open_file
from medalist.records import Answer, Mask, Sample

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""Errors of zipfile for damaged, encrypted and hostile archives."""

_MADE = (1980, 1, 1, 0, 0, 0)  # the date of every file, so that equal answers give equal archives
_BYTES_PER_PIXEL = 8  # a file of more than this, and some for its header, is no picture of its image
_HEADER = 64 * 1024
_NAMED = 6
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class LabelPictureFormat:
    """A submission of label pictures in a .zip.

    classes: the names of the contest's classes, as `Competition.classes` has them.
    ids: the value that stands for each class in the pictures, in their order; by default their numbers 0, 1, 2 ....
    name: the name of each picture in the archive, which may have folders: "results/{id}.png"; `{id}` is the id of the
        image.
    """

    classes: tuple[str, ...]
    ids: tuple[int, ...] = ()
    name: str = "{id}.png"

    def __post_init__(self) -> None:
        """Assert the rules that the types do not express."""
        assert self.name.count("{id}") == 1 and self.name.endswith(".png"), self.name
        assert not self.name.startswith("/") and ".." not in self.name and "\\" not in self.name, self.name
        assert 2 <= len(self.classes) <= 255, "the names of 2..255 classes"
        ids = self._ids
        assert len(ids) == len(self.classes) == len(set(ids)), "one id for each class"
        assert all(0 <= value <= 255 for value in ids), "ids are within 0..255"

    @property
    def one_class(self) -> bool:
        """Whether a mask is written as one class; it is not."""
        return False

    @property
    def suffix(self) -> str:
        """How the name of the archive ends."""
        return ".zip"

    @property
    def _ids(self) -> tuple[int, ...]:
        return self.ids or tuple(range(len(self.classes)))

    def write(self, path: Path, answers: Iterable[tuple[str, Answer]]) -> int:
        """Write the pictures of the answers in their order; return their number.

        Raises SubmissionError for an answer that is no mask or has values of no class, and for an id that cannot be
        the name of a file.
        """
        values = np.array(self._ids, np.uint8)
        count = 0
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # a PNG cannot be made smaller
            for sample_id, answer in answers:
                picture = values[self._classes_of(sample_id, answer)]
                done, data = cv2.imencode(".png", picture)
                assert done
                archive.writestr(zipfile.ZipInfo(self._name_of(sample_id), _MADE), data.tobytes())
                count += 1
        return count

    def parse(self, path: Path, samples: Sequence[Sample]) -> dict[str, Answer]:
        """Read the answers back, one for each sample in their order.

        Raises SubmissionError on the first problem that `validate` would find.
        """
        answers: dict[str, Answer] = {}
        refuse(path, self._read(path, samples, keep=answers))
        return {sample.id: answers[sample.id] for sample in samples}

    def validate(self, path: Path, samples: Sequence[Sample], reference: Path | None = None) -> list[Problem]:
        """Return every problem of the archive, in the order of the samples, then the files that are not asked for.

        A problem names the file in place of a row. reference: not used, because files have no order.
        """
        return self._read(path, samples)

    def _classes_of(self, sample_id: str, answer: Answer) -> NDArray[np.uint8]:
        if not isinstance(answer, Mask):
            raise SubmissionError(
                f"image {sample_id}: the contest asks for a mask of classes, the answer is {type(answer).__name__}; "
                "choose another 'decide.kind' in the config"
            )
        top = int(answer.classes.max(initial=0))
        if top >= len(self.classes):
            raise SubmissionError(
                f"image {sample_id}: the answer has the class {top}, and the contest's classes are "
                f"0..{len(self.classes) - 1}"
            )
        return answer.classes

    def _name_of(self, sample_id: str) -> str:
        name = self.name.replace("{id}", sample_id)
        parts = name.split("/")
        if not sample_id or not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
            raise SubmissionError(f"image {shortened(sample_id)}: its id cannot be the name of a file in the archive")
        return name

    def _read(self, path: Path, samples: Sequence[Sample], keep: dict[str, Answer] | None = None) -> list[Problem]:
        """Find every problem. Answers are stored only if `keep` is given: many of them may not fit in memory."""
        wanted = {self._name_of(sample.id): sample for sample in samples}
        problems: list[Problem] = []
        with _opened(path, problems) as archive:
            if archive is None:
                return problems
            members: dict[str, zipfile.ZipInfo] = {}
            for member in archive.infolist():
                if member.filename in members:
                    problems.append(_problem(member.filename, "the archive has two files of this name"))
                members[member.filename] = member
            for name, sample in wanted.items():
                if name not in members:
                    problems.append(_problem(name, "this image is asked for and has no picture"))
                    continue
                rule, mask = self._picture(archive, members[name], sample)
                if rule:
                    problems.append(_problem(name, rule))
                elif keep is not None and mask is not None:
                    keep[sample.id] = mask
            unknown = [name for name, member in members.items() if name not in wanted and not member.is_dir()]
            alike = twins(unknown, wanted)
            problems += [
                _problem(name, f"no such image is asked for{meant(name, alike.get(name))}") for name in unknown
            ]
        return problems

    def _picture(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, sample: Sample) -> tuple[str, Mask | None]:
        """Return the rule that a picture breaks, or "", and its mask."""
        height, width = sample.size
        if member.file_size > _BYTES_PER_PIXEL * height * width + _HEADER:
            return f"a file of {member.file_size:,} bytes is no picture of {width}x{height} pixels", None
        try:
            data = archive.read(member)
        except _DAMAGE as error:
            return f"cannot be read ({reason(error)}); write the archive again", None
        values = None
        rule = _rule_of_header(data, sample.size)
        if not rule:
            values = _ids_in(data)
            rule = "" if values is not None else "a damaged PNG; write it again"
        if values is None:
            return rule, None
        ids = {value: number for number, value in enumerate(self._ids)}
        classes, _, unknown = table_of_ids(ids, (), self.classes).translate(values)
        if unknown:
            told = ", ".join(f"{value} ({count:,} pixels)" for value, count in list(unknown.items())[:_NAMED])
            more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
            return f"values that are no class: {told}{more}; ids are {', '.join(map(str, self._ids))}", None
        return "", Mask(classes)


def _rule_of_header(data: bytes, size: tuple[int, int]) -> str:
    """The rule that a PNG's header breaks, or ""; it says the size before any pixel is decoded."""
    if not data.startswith(_PNG) or data[12:16] != b"IHDR" or len(data) < 33:  # IHDR is the first chunk of every PNG
        return "not a PNG"
    width, height, bits, colour = struct.unpack(">IIBB", data[16:26])
    if (height, width) != size:
        return f"{width}x{height} pixels, and the image has {size[1]}x{size[0]} (width x height)"
    return (
        "" if bits == 8 and colour in (0, 3) else "not a gray or palette PNG of 8 bits, whose values are ids of classes"
    )


def _ids_in(data: bytes) -> NDArray[np.uint8] | None:
    """The values of a PNG of 8 bits, never the colours of its palette; None where it is damaged."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.load()
            return np.array(image, np.uint8) if image.mode in ("L", "P") else None
    except (*_DAMAGE, SyntaxError, Image.DecompressionBombError):
        return None


def _problem(name: str, rule: str) -> Problem:
    return Problem(None, None, shortened(name), rule)


@contextmanager
def _opened(path: Path, problems: list[Problem]) -> Iterator[zipfile.ZipFile | None]:
    """Open an archive; None where it is none, with a problem that says so. SubmissionError where there is no file."""
    try:
        file = open_file(path)
    except OSError as error:
        raise SubmissionError(f"{path}: cannot be read ({error.strerror}); name the .zip to be sent") from error
    with file:
        try:
            archive = zipfile.ZipFile(file)
        except _DAMAGE as error:
            problems.append(Problem(None, None, shortened(path.name), f"not a .zip ({reason(error)})"))
            yield None
            return
        with archive:
            yield archive
