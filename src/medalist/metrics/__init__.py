"""The metrics of the contests. Each follows the contest's rules, and higher is always better.

Each function is at hand as `medalist.metrics.<name>`; it is imported when it is first used.
"""

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medalist.metrics.boundaries import boundary_f1
    from medalist.metrics.box_counts import box_f_beta, box_precision_over_iou
    from medalist.metrics.box_points import point_jaccard
    from medalist.metrics.boxes import box_map, coco_map, voc_map
    from medalist.metrics.classes import frequency_weighted_iou, mean_class_dice, mean_iou, pixel_accuracy
    from medalist.metrics.instances import f_beta_over_iou, nuclei_map
    from medalist.metrics.labels import (
        accuracy,
        average_precision,
        balanced_accuracy,
        f1,
        f_beta,
        label_map_at,
        log_loss,
        mean_column_log_loss,
        pf1,
        quadratic_kappa,
        roc_auc,
    )
    from medalist.metrics.masks import global_dice, mean_dice, mean_precision_over_iou
    from medalist.metrics.retrieval import gap, map_at, mrr, recall_at

PLACES = MappingProxyType(
    {
        "boundaries": ("boundary_f1",),
        "box_counts": ("box_f_beta", "box_precision_over_iou"),
        "box_points": ("point_jaccard",),
        "boxes": ("box_map", "coco_map", "voc_map"),
        "classes": ("frequency_weighted_iou", "mean_class_dice", "mean_iou", "pixel_accuracy"),
        "instances": ("f_beta_over_iou", "nuclei_map"),
        "labels": (
            "accuracy",
            "average_precision",
            "balanced_accuracy",
            "f1",
            "f_beta",
            "label_map_at",
            "log_loss",
            "mean_column_log_loss",
            "pf1",
            "quadratic_kappa",
            "roc_auc",
        ),
        "masks": ("global_dice", "mean_dice", "mean_precision_over_iou"),
        "retrieval": ("gap", "map_at", "mrr", "recall_at"),
    }
)
"""The file of each public metric."""

__all__ = [
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "boundary_f1",
    "box_f_beta",
    "box_map",
    "box_precision_over_iou",
    "coco_map",
    "f1",
    "f_beta",
    "f_beta_over_iou",
    "frequency_weighted_iou",
    "gap",
    "global_dice",
    "label_map_at",
    "log_loss",
    "map_at",
    "mean_class_dice",
    "mean_column_log_loss",
    "mean_dice",
    "mean_iou",
    "mean_precision_over_iou",
    "mrr",
    "nuclei_map",
    "pf1",
    "pixel_accuracy",
    "point_jaccard",
    "quadratic_kappa",
    "recall_at",
    "roc_auc",
    "voc_map",
]


def __getattr__(name: str) -> Any:
    """Import a public metric when it is first used."""
    place = next((place for place, names in PLACES.items() if name in names), None)
    if place is None:
        raise AttributeError(f"module 'medalist.metrics' has no attribute '{name}'")
    return getattr(import_module(f"medalist.metrics.{place}"), name)
