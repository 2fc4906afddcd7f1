"""Writes the report of a run: one self-contained HTML page.

    scores        of every test split, with the baseline, average pooling
    maps          localization against masks, if the data have them
    clips         a dozen of a test split, chosen by a rule that the page states; photographs
                  (clips of one frame) as in the figures of the paper's supplement
    curves        of every stage
    classes       average precision of each class

It reads the files of the run (metrics.json, predictions.csv, history.json) and runs the model on
the dozen clips only. `page.html` is the template, `style.html` the style that pages share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import jinja2

from aacf_tf.evaluation.metrics import BASELINE, METRICS_FILE, read_metrics
from aacf_tf.evaluation.tables import head_name
from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import Recipe
from aacf_tf.report import tables
from aacf_tf.report.figures import draw_figures
from aacf_tf.runs.directory import read_history
from aacf_tf.runs.run import Run
from aacf_tf.visualization import curves, panels
from tfrecords.records.dataset import DatasetInfo, conjugate_kinds
from tfrecords.utils.atomic import write_text
from tfrecords.utils.errors import UsageError


def write_report(run: Run, model: ActionModel) -> Path:
    """Writes WORKDIR/report/index.html.

    Args:
        run: Run that has been evaluated; clips of its data set are shown.
        model: Trained model of its last stage, in float32.

    Returns:
        The path of the page.

    Raises:
        UsageError: The run has not been evaluated.
    """
    workdir, recipe = run.workdir, run.recipe
    metrics, baseline = read_metrics(workdir), read_metrics(workdir / BASELINE)
    if metrics is None or not (workdir / "predictions.csv").is_file():
        raise UsageError(
            f"Expected {METRICS_FILE} and predictions.csv in {workdir}, received none; "
            "evaluate the run first."
        )
    kind = "action and context" if metrics["head"] == "aacf" else head_name(metrics["head"])
    shown_split, figures = draw_figures(run, model)
    text = load_template().render(
        title=f"{recipe.name}: {kind}",
        facts=_facts(recipe, metrics["head"], run.info),
        recipe=recipe,
        frames=panels.FRAMES,
        attention=recipe.head in tables.ATTENTION_MAPS,
        action_map=tables.action_map(recipe.head),
        splits=metrics["splits"],
        scores=tables.score_table(metrics, baseline),
        measures=tables.measures(metrics).values(),
        maps=tables.map_table(metrics, baseline),
        shown_split=shown_split,
        figures=figures,
        curves=list(_curves(workdir)),
        classes=tables.class_tables(metrics, baseline),
    )
    path = workdir / "report" / "index.html"
    write_text(path, text)
    return path


def load_template(folder: Path = Path(__file__).parent) -> jinja2.Template:
    """Loads the page.html of a folder, which may include the style of the reports."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["digits"] = "{:.3f}".format
    return environment.get_template("page.html")


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


def _curves(workdir: Path) -> Iterator[tuple[str, str]]:
    """Yields the caption and the SVG of each history.json of the run and of its baseline."""
    for folder, name in ((workdir, ""), (workdir / BASELINE, "average pooling, ")):
        paths = folder.glob("logs/*/history.json")
        for path in sorted(paths, key=lambda path: path.stat().st_mtime):
            history = read_history(path)
            if history:
                yield f"{name}stage {path.parent.name}", curves.plot(history)
