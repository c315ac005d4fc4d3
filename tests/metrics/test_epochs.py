"""The figures of an epoch in one line."""

from __future__ import annotations

from medalist.metrics.epochs import SHOWN, told_row


def test_a_line_has_the_losses_and_the_scores() -> None:
    row = {"epoch": 1.0, "lr": 0.1, "loss": 0.5, "loss_bce": 0.4, "val_loss": 0.25, "dice_body": 0.0, "seconds": 3.0}
    assert told_row(row, ("loss", "val_loss")) == "loss 0.5000  val_loss 0.2500  dice_body 0.0000 (nothing right yet)"


def test_of_many_scores_the_first_are_shown() -> None:
    row = {"loss": 1.0} | {f"dice_{number}": 0.5 for number in range(SHOWN + 3)}
    shown = "  ".join(f"dice_{number} 0.5000" for number in range(SHOWN))
    assert told_row(row, ("loss",)) == f"loss 1.0000  {shown}  and 3 more"
    assert told_row({"dice_0": 0.5}, ()) == "dice_0 0.5000"
