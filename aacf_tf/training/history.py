"""The history of a stage: the best epoch, early stopping, its table."""

from __future__ import annotations

import csv
import io
from typing import Any, Mapping, Sequence

from aacf_tf.recipes import StagePlan


def is_best(plan: StagePlan, history: Sequence[dict[str, float]]) -> bool:
    """Returns whether the last epoch is the best on `validation`; ties go to the later one."""
    values = _judgements(plan, history)
    return bool(values) and values[-1] >= max(values)


def stops_early(plan: StagePlan, history: Sequence[dict[str, float]]) -> bool:
    """Returns whether the best epoch is `patience` or more epochs ago."""
    values = _judgements(plan, history)
    patience = plan.stage.patience
    if not patience or not values:
        return False
    return len(values) - 1 - values.index(max(values)) >= patience


def _judgements(plan: StagePlan, history: Sequence[dict[str, float]]) -> list[float]:
    """Returns one value per epoch, more is better; empty without a split `validation`.

    The value is the accuracy of the combined score, whatever score is served: validation has the
    scenes of training, so by the action score alone an early epoch that relies on the scene would
    win. Without an accuracy it is the negative loss. Epochs in which only the pair terms act do
    not count.
    """
    entries = history[plan.first_judged_epoch :]
    for name, sign in (("val_accuracy", 1), ("val_loss", -1)):
        if entries and all(name in entry for entry in entries):
            return [sign * entry[name] for entry in entries]
    return []


def to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Returns rows as CSV; the columns are all names in them unless given, None is empty."""
    columns = columns or list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
