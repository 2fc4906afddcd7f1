"""Chooses the clips of a report and draws their figures."""

from __future__ import annotations

import csv
from typing import Any, NamedTuple, Sequence

from aacf_tf.models.action_model import ActionModel
from aacf_tf.report import clips, stills
from aacf_tf.runs.run import Run
from aacf_tf.visualization import panels
from tfrecords.media import pictures

CLIPS = 12
SHEET = "maps.png"  # beside the page: the first clip of each class, to show elsewhere


class Chosen(NamedTuple):
    """A row of predictions.csv that is shown."""

    id: str
    labels: str
    predicted: str

    @property
    def right(self) -> bool:
        """Whether the predicted class is one of the true ones."""
        return self.predicted in self.labels.split("|")

    @property
    def title(self) -> str:
        """The true classes, and the predicted one if it is wrong."""
        names = self.labels.replace("|", ", ")
        return names if self.right else f"{names} (taken for {self.predicted})"


class Figure(NamedTuple):
    """A clip on the page: its row, the predicted class's probability, its picture as a data URI."""

    row: Chosen
    probability: str
    image: str


def choose(rows: Sequence[Chosen], labels: Sequence[str], count: int = CLIPS) -> list[Chosen]:
    """Chooses the clips that are shown, by a rule.

    Classes that occur are taken in order, six of them evenly spread if there are more. Of each
    class the first correctly classified clip of the split comes in, then the first misclassified
    one, and so on in turn until the class has its share; if one kind runs out, the other goes on.
    """
    occurring = {row.labels.split("|")[0] for row in rows}
    labels = [label for label in labels if label in occurring]
    if not labels:
        return []
    wanted = min(len(labels), 6)
    share = -(-count // wanted)
    chosen = []
    for index in range(wanted):
        label = labels[index * len(labels) // wanted]
        of_class = [row for row in rows if label == row.labels.split("|")[0]]
        kinds = [[row for row in of_class if row.right], [row for row in of_class if not row.right]]
        picked: list[Chosen] = []
        while len(picked) < share and any(kinds):
            kind = kinds[len(picked) % 2] or kinds[(len(picked) + 1) % 2]
            picked.append(kind.pop(0))
        chosen += picked
    return chosen[:count]


def choose_split(splits: Sequence[str]) -> str:
    """Chooses the split whose clips are shown: where scenes say nothing, if possible."""
    return next((name for name in ("test_uniform", "test") if name in splits), splits[0])


def draw_figures(run: Run, model: ActionModel) -> tuple[str, list[Figure]]:
    """Draws the chosen clips of an evaluated run, and writes the sheet of them.

    Returns:
        The split that they are from, and the figures.
    """
    with open(run.workdir / "predictions.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    split = choose_split(list(dict.fromkeys(row["split"] for row in table)))
    scores = {row["id"]: row for row in table if row["split"] == split}
    rows = [Chosen(name, row["labels"], row["predicted"]) for name, row in scores.items()]
    chosen = choose([row for row in rows if row.labels], run.info.labels)
    kind = stills if run.recipe.data.frames == 1 else clips
    loaded: dict[str, Any] = kind.load(run, split, {row.id for row in chosen})
    figures, sheet = [], {}
    for row in chosen:
        if row.id in loaded:
            picture, strip = kind.draw(loaded[row.id], model, run.recipe.data)
            figures.append(
                Figure(
                    row, _probability(scores[row.id], run.recipe.score), panels.data_uri(picture)
                )
            )
            sheet.setdefault(row.labels.split("|")[0], pictures.with_titles(strip, [row.title]))
    if sheet:
        path = run.workdir / "report" / SHEET
        panels.write_sheet(path, list(sheet.values()), kind.SHEET_COLUMNS)
    return split, figures


def _probability(row: dict[str, str], score: str) -> str:
    """Returns the predicted class's probability, by the combined score if the head has no other."""
    label = row["predicted"]
    value = row.get(f"{score}_{label}", row.get(f"combined_{label}"))
    return f"{float(value):.2f}" if value else ""
