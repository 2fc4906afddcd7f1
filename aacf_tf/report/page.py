"""The report of a run: one HTML page that holds everything it shows.

    scores        every test split, average pooling beside the model
    maps          where they lie, against masks, where the data have them
    curves        of every stage
    clips         a dozen of a test split, chosen by a rule that the page states; photographs
                  (clips of one frame) as in the figures of the paper's supplement
    classes       average precision of each

It reads what a run has written (metrics.json, predictions.csv, history.json) and runs the model on
the dozen clips only.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any, Sequence

from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import Recipe
from aacf_tf.report.clips import clip_section
from aacf_tf.report.tables import (
    class_section,
    head_name,
    localization_section,
    score_section,
    section,
    unit_of,
)
from aacf_tf.visualization import curves
from tfrecords.utils.atomic import write_text
from tfrecords.utils.errors import UsageError


def write_report(
    workdir: Path, recipe: Recipe, labels: list[str], *, data_dir: Path, model: ActionModel
) -> Path:
    """Writes WORKDIR/report/index.html.

    Args:
        workdir: of a run that has been evaluated.
        recipe: of the run.
        labels: class names.
        data_dir: the data set whose test clips are shown.
        model: in float32, trained.

    Returns:
        the path of the page.

    Raises:
        UsageError: the run has not been evaluated.
    """
    workdir = Path(workdir)
    ours = _read_json(workdir / "metrics.json")
    if ours is None or not (workdir / "predictions.csv").is_file():
        raise UsageError(
            f"Expected metrics.json and predictions.csv in {workdir}, received none; "
            "evaluate the run first."
        )
    theirs = _read_json(workdir / "baselines" / "average" / "metrics.json")
    kind = "action and context" if ours["head"] == "aacf" else head_name(ours["head"])
    title = f"{recipe.name}: {kind}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        _summary(recipe, ours, labels),
        score_section(ours, theirs, len(labels), unit_of(recipe)),
        localization_section(ours, theirs),
        clip_section(workdir, recipe, labels, data_dir, model),
        _curves(workdir),
        class_section(ours, theirs, unit_of(recipe)),
    ]
    page = _PAGE.format(title=escape(title), body="\n".join(part for part in sections if part))
    path = workdir / "report" / "index.html"
    write_text(path, page)
    return path


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


# ---- tables -------------------------------------------------------------------------------------


def _summary(recipe: Recipe, metrics: dict[str, Any], labels: Sequence[str]) -> str:
    data = recipe.data
    rate = f"{data.fps:g} frames a second" if data.fps else "every frame"
    clips = f"clips of {data.frames} frames of {data.height}×{data.width}, {rate}"
    if data.frames == 1:
        how = "scaled to cover" if data.resize == "whole" else "of"
        clips = f"photographs {how} {data.height}×{data.width} pixels"
    stages = ", then ".join(f"{stage.name} ({stage.epochs} epochs)" for stage in recipe.stages)
    facts = [
        f"{len(labels)} classes",
        clips,
        f"backbone {recipe.backbone}",
        f"head {metrics['head']}",
        *([f"modality {recipe.modality}"] if recipe.modality != "rgb" else []),
        f"trained: {stages}",
        f"seed {recipe.seed}",
    ]
    return f'<p class="lead">{escape(" · ".join(facts))}</p>'


# ---- curves -------------------------------------------------------------------------------------


def _curves(workdir: Path) -> str:
    """One row of plots for each history.json of the run and of its baseline."""
    figures = []
    for base, name in ((workdir, ""), (workdir / "baselines" / "average", "average pooling, ")):
        for path in sorted((base / "logs").glob("*/history.json"), key=lambda p: p.stat().st_mtime):
            history = _read_json(path)
            if history:
                caption = f"{name}stage {path.parent.name}"
                figures.append(
                    f"<figure><figcaption>{escape(caption)}</figcaption>{curves.plot(history)}</figure>"
                )
    return section("Training", "".join(figures), "Values of each epoch.") if figures else ""


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --ink: #1c2126; --soft: #5d6770; --line: #dde2e6; --paper: #fff; --fill: #f3f5f7;
  --bar: #9cc3e6; --good: #1a7f4b; --bad: #b3372f; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e4e8ec; --soft: #9aa5af; --line: #333b43;
  --paper: #14181c; --fill: #1d2329; --bar: #2c5f8a; --good: #58c48c; --bad: #ee8a82; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 76rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", sans-serif; }}
h1 {{ margin: 0 0 .25rem; font-size: 1.8rem; font-weight: 650; letter-spacing: -.01em; }}
h2 {{ margin: 0 0 .4rem; font-size: 1.15rem; font-weight: 650; }}
section {{ margin-top: 2.6rem; }}
.lead, .note {{ color: var(--soft); margin: 0 0 .9rem; max-width: 62rem; }}
.note {{ font-size: .87rem; }}
.note b {{ color: var(--ink); font-weight: 600; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }}
th, td {{ padding: .34rem .8rem; text-align: right; border-bottom: 1px solid var(--line);
  font-weight: 400; white-space: nowrap; }}
tbody th, thead th.left {{ text-align: left; }}
tbody th[rowspan] {{ vertical-align: top; font-weight: 600; }}
thead th {{ color: var(--soft); font-size: .85rem; }}
thead th[colspan] {{ color: var(--ink); font-weight: 600; text-align: right; }}
th small {{ margin-left: .5em; color: var(--soft); font-weight: 400; }}
td b {{ font-weight: 680; }}
td.bar {{ position: relative; min-width: 9rem; }}
td.bar i {{ position: absolute; left: .4rem; top: 18%; bottom: 18%; max-width: calc(100% - .8rem);
  background: var(--bar); opacity: .55; border-radius: 2px; }}
td.bar span {{ position: relative; }}
details {{ margin: 0 0 .8rem; }}
summary {{ cursor: pointer; font-weight: 600; padding: .2rem 0; }}
figure {{ margin: 0 0 1.2rem; }}
figcaption {{ display: flex; gap: .8rem; align-items: baseline; margin-bottom: .3rem;
  font-size: .9rem; }}
figcaption small {{ margin-left: auto; color: var(--soft); overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }}
figure svg {{ max-width: 100%; height: auto; }}
.clips {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(34rem, 100%), 1fr));
  gap: 1.4rem; }}
.clips.wide {{ grid-template-columns: 1fr; }}
.clip {{ min-width: 0; margin: 0; padding: .7rem .8rem .8rem; background: var(--fill);
  border-radius: 8px; }}
.clip img {{ display: block; width: 100%; border-radius: 3px; }}
.right span {{ color: var(--good); }}
.wrong span {{ color: var(--bad); }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
