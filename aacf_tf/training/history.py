"""The history of a stage, and what it says: the best epoch, an early end."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, Mapping, Sequence

from aacf_tf.recipes import StagePlan


def read_history(path: Path) -> list[dict[str, float]]:
    """The entries of a history.json; none where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def is_best(plan: StagePlan, history: Sequence[dict[str, float]]) -> bool:
    """Whether the last epoch is the best on `validation`; of equals the later one."""
    values = _judgements(plan, history)
    return bool(values) and values[-1] >= max(values)


def stops_early(plan: StagePlan, history: Sequence[dict[str, float]]) -> bool:
    """Whether `stage.patience` epochs have gone by without one better than all before it."""
    values = _judgements(plan, history)
    patience = plan.stage.patience
    if not patience or not values:
        return False
    return len(values) - 1 - values.index(max(values)) >= patience


def _judgements(plan: StagePlan, history: Sequence[dict[str, float]]) -> list[float]:
    """What the epochs are judged by, more is better; empty without a split `validation`.

    The accuracy of the combined score, whatever score is served: validation plays in the scenes of
    training, where by the action score alone an early epoch that goes by the scene would win. The
    loss where there is no accuracy. Epochs in which only the pair terms act do not count.
    """
    entries = history[plan.first_judged_epoch :]
    for name, sign in (("val_accuracy", 1), ("val_loss", -1)):
        if entries and name in entries[-1]:
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
