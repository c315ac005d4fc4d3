"""Points of objects by class: by hand, through the file, and every fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusals import one_line

from medalist.errors import SubmissionError
from medalist.formats.points import PointsFormat
from medalist.formats.submission import write_submission
from medalist.records import Boxes, Labels, Sample

FORM = PointsFormat(classes=("A", "B"), radii=(2, 10))
SAMPLES = [Sample("x_0", (), (50, 100)), Sample("y_1", (), (50, 100))]
HEADER = "id,image,class,detections"


def test_rows_and_squares_by_hand(tmp_path: Path) -> None:
    answer = FORM.squares([(1, 30, 20), (0, 5, 6), (1, 40, 25)])
    assert answer.xyxy.tolist() == [[20, 10, 40, 30], [3, 4, 7, 8], [30, 15, 50, 35]]
    assert FORM.rows("x_0", answer) == [
        ("x_0_A", "x_0.jpg", "A", "5:6"), ("x_0_B", "x_0.jpg", "B", "30:20|40:25"),
    ]  # fmt: skip
    write_submission(tmp_path / "s.csv", FORM, [("y_1", FORM.squares([])), ("x_0", answer)])
    read = FORM.parse(tmp_path / "s.csv", SAMPLES)
    found = read["x_0"]
    assert list(read) == ["x_0", "y_1"] and isinstance(found, Boxes)
    assert found.labels.tolist() == [0, 1, 1] and found.xyxy.tolist()[0] == [3, 4, 7, 8]
    assert read["y_1"].count == 0
    with pytest.raises(SubmissionError, match="asks for boxes, the answer is Labels"):
        FORM.rows("x_0", Labels(("A",)))


GOOD = ("x_0_A,x_0.jpg,A,None", "x_0_B,x_0.jpg,B,1:2", "y_1_A,y_1.jpg,A,None", "y_1_B,y_1.jpg,B,None")


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ("x_0_B,x_0.jpg,B,", "row 3, column detections, value '': '' is no point; points are written x:y"),
        ("x_0_B,x_0.jpg,B,1:2|", "'' is no point"),
        ("x_0_B,x_0.jpg,B,1.5:2", "'1.5:2' is no point"),
        ("x_0_B,x_0.jpg,B,-1:2", "'-1:2' is no point"),
        ("x_0_B,x_0.jpg,B,1:51", "1:51 lies outside the image, which is 100 wide and 50 high"),
        ("x_0_B,y_1.jpg,B,1:2", "row 3, column image, value 'y_1.jpg': the image of this id is x_0.jpg"),
        ("x_0_B,x_0.jpg,C,1:2", "row 3, column class, value 'C': no class of the contest; they are A, B"),
        ("x_0_A,x_0.jpg,A,None", "row 3, column id, value 'x_0_A': a second row for this id"),
        ("z_0_A,z_0.jpg,A,None", "row 3, column id, value 'z_0_A': this id is not asked for"),
    ],
)
def test_faults_are_named(row: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("\n".join((HEADER, GOOD[0], row, *GOOD[2:])) + "\n")
    assert match in one_line(SubmissionError, lambda: FORM.parse(tmp_path / "s.csv", SAMPLES))
