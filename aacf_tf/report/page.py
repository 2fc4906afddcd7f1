"""Writes the report of a run, or of several side by side: one self-contained HTML page.

    summary       how often the run is right, and what the scene has to do with it, in a sentence
    clips         some of a test split, chosen by a rule that the page states, to play with their
                  maps, each beside its conjugate
    scores        of every test split, with the baseline, average pooling
    classes       average precision of each class with its interval, confusions, certainty
    maps          localization against masks, if the data have them
    training      curves of every stage, with the phases of its schedule

It reads the files of the run (metrics.json, predictions.csv, history.json) and runs the model on
the shown clips only. `templates/page.html` is the page, `templates/gallery.js` plays the clips,
`templates/style.html` is the style that pages share.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, Sequence

import jinja2
import numpy as np

from aacf_tf.evaluation.metrics import BASELINE, METRICS_FILE, Metrics, read_metrics
from aacf_tf.evaluation.tables import head_name
from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import Recipe
from aacf_tf.report import outcomes, summary, tables
from aacf_tf.report.figures import Figure, Shown, draw_figures
from aacf_tf.report.outcomes import Outcomes, read_outcomes
from aacf_tf.report.schedule import trained_stages
from aacf_tf.runs.run import Run
from aacf_tf.visualization import overlays
from tfrecords.records.dataset import DatasetInfo, conjugate_kinds, digest
from tfrecords.utils.atomic import write_text
from tfrecords.utils.errors import UsageError

_TEMPLATES = Path(__file__).parent / "templates"
_FULL_MATRIX = 25  # classes; of more, the most frequent confusions are listed
_CONFUSIONS = 20


class Judged(NamedTuple):
    """A run with its metrics, those of its baseline, and the predictions of both."""

    shown: Shown
    metrics: Metrics
    baseline: Metrics | None
    pooled: dict[str, Outcomes]


def write_report(run: Run, model: ActionModel) -> Path:
    """Writes WORKDIR/report/index.html.

    Args:
        run: Run that has been evaluated; clips of its data set are shown.
        model: Trained model of its last stage, in float32.

    Returns:
        The path of the page.

    Raises:
        UsageError: The run has not been evaluated.
        UserError: A file of the run is damaged.
    """
    path = run.workdir / "report" / "index.html"
    write_text(path, _render([_judge("", run, model)], sheet=True))
    return path


def write_comparison(runs: Sequence[tuple[str, Run, ActionModel]], path: Path) -> None:
    """Writes the page of several runs side by side.

    Args:
        runs: Name, run and model of each, see `write_report`. Clips are those of the first one's
            data.
        path: Path of the page.

    Raises:
        UsageError: A run has not been evaluated.
        UserError: A file of a run is damaged.
    """
    write_text(path, _render([_judge(*run) for run in runs], sheet=False))


def load_template(folder: Path = _TEMPLATES) -> jinja2.Template:
    """Loads the page.html of a folder, which may include the style of the reports."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["digits"] = "{:.3f}".format
    environment.filters["percent"] = lambda share: f"{100 * share:.0f} %"
    environment.filters["points"] = lambda share: f"{100 * share:+.1f}"
    return environment.get_template("page.html")


def _judge(name: str, run: Run, model: ActionModel) -> Judged:
    workdir = run.workdir
    metrics, baseline = read_metrics(workdir), read_metrics(workdir / BASELINE)
    if metrics is None or not (workdir / outcomes.PREDICTIONS_FILE).is_file():
        raise UsageError(
            f"Expected {METRICS_FILE} and {outcomes.PREDICTIONS_FILE} in {workdir}, received none; "
            "evaluate the run first."
        )
    found = read_outcomes(workdir, metrics["labels"])
    pooled = {}
    if baseline and (workdir / BASELINE / outcomes.PREDICTIONS_FILE).is_file():
        pooled = read_outcomes(workdir / BASELINE, baseline["labels"])
    return Judged(Shown(name, run, model, found), metrics, baseline, pooled)


def _render(runs: Sequence[Judged], sheet: bool) -> str:
    first = runs[0].shown
    recipe, head = first.run.recipe, runs[0].metrics["head"]
    split, figures, media = draw_figures([judged.shown for judged in runs], sheet)
    kind = "action and context" if head == "aacf" else head_name(head)
    names = [judged.shown.name for judged in runs]
    return load_template().render(
        title=" | ".join(names) if len(runs) > 1 else f"{recipe.name}: {kind}",
        several=len(runs) > 1,
        unit="photograph" if recipe.data.frames == 1 else "clip",
        runs=[_content(judged, first) for judged in runs],
        shown_split=split,
        figures=figures,
        classes_shown=list(dict.fromkeys(label for figure in figures for label in figure.labels)),
        data=_for_script(figures, media),
        attention=recipe.head in tables.ATTENTION_MAPS,
        action_map=tables.action_map(recipe.head),
        modality=recipe.modality,
    )


def _content(judged: Judged, first: Shown) -> dict[str, Any]:
    """Returns what the template shows of one run."""
    shown, metrics, baseline, _ = judged
    recipe, info = shown.run.recipe, shown.run.info
    text = summary.sentences(metrics, baseline, shown.score, shown.outcomes, info.multi_label)
    return {
        "name": shown.name,
        "other_data": digest(shown.run.data) != digest(first.run.data),
        "facts": _facts(recipe, metrics["head"], info),
        "recipe": recipe,
        "score": shown.score,
        "factors": metrics["head"] == "aacf",
        "action_map": tables.action_map(metrics["head"]),
        "splits": metrics["splits"],
        "sentences": text,
        "differences": []
        if shown is first
        else summary.differences(shown.outcomes, first.outcomes),
        "scores": tables.score_table(metrics, baseline),
        "measures": list(tables.measures(metrics).values()),
        "maps": tables.map_table(metrics, baseline),
        "trained": list(trained_stages(shown.run)),
        "classes": _class_tables(judged),
        "confusions": {
            split: _confusions(of, metrics["labels"]) for split, of in shown.outcomes.items()
        },
        "certainty": {
            split: (bins, outcomes.certainty_gap(bins))
            for split, of in shown.outcomes.items()
            if (bins := outcomes.certainty(of, shown.score))
        },
    }


def _class_tables(judged: Judged) -> list[tuple[str, list[str], list[tuple[str, list[Any]]]]]:
    """Lists the tables of `tables.class_tables`, each value with its interval or None."""
    shown, metrics, baseline, pooled = judged
    head = head_name(metrics["head"])
    intervals: dict[tuple[str, str], list[Any]] = {}  # by split and the titles of `score_rows`
    for split, of in pooled.items():
        values = of.scores["combined"]
        intervals[split, "average pooling"] = outcomes.ap_intervals(of.targets, values)
    for split, of in shown.outcomes.items():
        for score, values in of.scores.items():
            intervals[split, f"{head} {score}"] = outcomes.ap_intervals(of.targets, values)
    result = []
    for split, names, rows in tables.class_tables(metrics, baseline):
        known = [intervals.get((split, name)) for name in names]
        lines = [
            (label, [(value, of and of[k]) for value, of in zip(values, known)])
            for k, (label, values) in enumerate(rows)
        ]
        result.append((split, names, lines))
    return result


def _confusions(of: Outcomes, labels: Sequence[str]) -> dict[str, Any]:
    """Returns the matrix of confusions, or of many classes the most frequent ones."""
    counts = outcomes.confusions(of)
    totals = counts.sum(1)
    if len(labels) <= _FULL_MATRIX:
        shares = counts / np.maximum(totals[:, None], 1)
        rows = [
            (label, list(zip(row.tolist(), share.tolist())))
            for label, row, share in zip(labels, counts, shares)
        ]
        return {"labels": labels, "rows": rows}
    wrong = counts * (1 - np.eye(len(labels), dtype=int))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [(int(index) // len(labels), int(index) % len(labels)) for index in order]
    return {
        "pairs": [
            (labels[true], labels[said], int(wrong[true, said]), int(totals[true]))
            for true, said in pairs
            if wrong[true, said]
        ]
    }


def _for_script(figures: Sequence[Figure], media: Sequence[str]) -> str:
    """Returns the films as JSON that may stand in a script element."""
    content = {
        "media": media,
        "films": [[view.film for view in figure.views] for figure in figures],
        "colors": [overlays.ACTION_COLORS, overlays.CONTEXT_COLORS],
    }
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _facts(recipe: Recipe, head: str, info: DatasetInfo) -> list[str]:
    data, classes, kinds = recipe.data, len(info.labels), conjugate_kinds(info)
    rate = f"{data.fps:g} frames a second" if data.fps else "every frame"
    clips = f"clips of {data.frames} frames of {data.height}×{data.width}, {rate}"
    if data.frames == 1:
        how = "scaled to cover" if data.resize == "whole" else "of"
        clips = f"photographs {how} {data.height}×{data.width} pixels"
    stages = ", then ".join(f"{stage.name} ({stage.epochs} epochs)" for stage in recipe.stages)
    return [
        f"{classes} classes",
        clips,
        f"backbone {recipe.backbone}",
        f"head {head}",
        *([f"modality {recipe.modality}"] if recipe.modality != "rgb" else []),
        *([f"conjugates: {kinds}"] if kinds else []),
        f"trained: {stages}",
        f"seed {recipe.seed}",
    ]
