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

import csv
import json
from html import escape
from pathlib import Path
from typing import Any, Sequence

from aacf_tf import report_clips, report_stills
from aacf_tf.evaluation.classification import SCORES
from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import Recipe
from aacf_tf.report_clips import Chosen
from aacf_tf.visualization import curves
from aacf_tf.visualization.panels import FRAMES, data_uri, join, with_titles, write_sheet
from tfrecords.utils.atomic import write_text
from tfrecords.utils.errors import UsageError

SHEET = "maps.png"  # beside the page: the first clip of each class, to show elsewhere


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
    kind = "action and context" if ours["head"] == "aacf" else _name(ours["head"])
    title = f"{recipe.name}: {kind}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        _summary(recipe, ours, labels),
        _scores(ours, theirs, len(labels), _unit(recipe)),
        _localization(ours, theirs),
        _clips(workdir, recipe, labels, data_dir, model),
        _curves(workdir),
        _classes(ours, theirs, _unit(recipe)),
    ]
    page = _PAGE.format(title=escape(title), body="\n".join(part for part in sections if part))
    path = workdir / "report" / "index.html"
    write_text(path, page)
    return path


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _unit(recipe: Recipe) -> str:
    """What is counted."""
    return "photograph" if recipe.data.frames == 1 else "clip"


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


def _scores(ours: dict[str, Any], theirs: dict[str, Any] | None, classes: int, unit: str) -> str:
    """Rows: who and by which score; columns: the splits."""
    splits = ours["splits"]
    rows = [("chance", {}, "")]
    if theirs:
        rows.append(("average pooling", theirs["splits"], "combined"))
    for score in (*SCORES, "reliability"):
        if any(score in entry for entry in splits.values()):
            rows.append((f"{_name(ours['head'])} {score}", splits, score))
    best = {
        (split, key): max(
            (source.get(split, {}).get(score, {}).get(key) or 0 for _, source, score in rows),
        )
        for split in splits
        for key in ("top1", "mean_ap")
    }
    head = "".join(
        f'<th colspan="2">{escape(name)}<small>{entry["clips"]} {unit}s</small></th>'
        for name, entry in splits.items()
    )
    body = []
    for name, source, score in rows:
        cells = []
        for split in splits:
            for key in ("top1", "mean_ap"):
                value = source.get(split, {}).get(score, {}).get(key)
                if not score and key == "top1":
                    value = 1 / classes
                strong = bool(score) and value is not None and value == best[split, key]
                cells.append(_cell(value, strong))
        body.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    under = "<th>top-1</th><th>mean AP</th>" * len(splits)
    notes = ["Best of each column in bold."]
    if any("context" in entry for entry in splits.values()):
        notes.append(
            "<b>action</b> goes by the action factor alone, <b>context</b> by the context factor "
            "alone, <b>combined</b> by both."
        )
    trusts = [
        f"{escape(split)} {entry['reliability']['context_trust']:.2f}"
        for split, entry in splits.items()
        if "reliability" in entry
    ]
    if trusts:
        notes.append(
            f"<b>reliability</b> counts the context as far as the unlabelled {unit}s of a split "
            f"say it can be trusted (0 to 1): {', '.join(trusts)}."
        )
    return _section(
        "Scores",
        f"<table><thead><tr><th></th>{head}</tr><tr><th></th>{under}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>",
        " ".join(notes),
    )


def _localization(ours: dict[str, Any], theirs: dict[str, Any] | None) -> str:
    """Rows: whose map on which split; columns: the measures."""
    body = []
    threshold = 0.0
    maps = {**_MAPS, "action": _ACTION_MAPS.get(ours["head"], _OTHER_MAP)}
    places = [entry.get("localization") or {} for entry in ours["splits"].values()]
    timed = any("action_time_share" in place for place in places)  # a photograph has no time
    columns = {key: name for key, name in _MEASURES.items() if timed or key != "time_share"}
    for split, entry in ours["splits"].items():
        place = entry.get("localization")
        if not place:
            continue
        threshold = place.get("mask_threshold", 0.0)
        beside = (theirs or {"splits": {}})["splits"].get(split, {}).get("localization")
        # One row for each name that stands before _mass: the maps, and what needs no learning.
        names = [key[: -len("_mass")] for key in place if key.endswith("_mass")]
        rows = [(maps.get(name, name.replace("_", " ")), place, name) for name in names]
        if beside:
            rows.append(("average pooling, class activation", beside, "action"))
        far = place.get("off_centre_third", {})
        rows += [
            (f"{maps.get(name, name)}, off-centre third", far, name)
            for name in names
            if f"{name}_mass" in far
        ]
        area = place.get("mask_area")
        for number, (name, values, key) in enumerate(rows):
            measures = [values.get(f"{key}_{measure}") for measure in columns]
            first = f'<th rowspan="{len(rows)}">{escape(split)}</th>' if number == 0 else ""
            last = _cell(area if number == 0 else None)
            cells = "".join(_cell(value) for value in measures)
            body.append(f"<tr>{first}<th>{escape(name)}</th>{cells}{last}</tr>")
    if not body:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns.values())
    touched = (
        "the mask touches" if threshold == 0 else f"the mask covers more than {threshold:.0%} of"
    )
    wanted = f"The {maps['action']} should lie on the actor"
    wanted += ", the context map off it. " if ours["head"] == "aacf" else ". "
    return _section(
        "Where the maps lie",
        f'<table><thead><tr><th class="left">split</th><th class="left">map</th>{head}'
        "<th>actor’s area</th></tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>",
        "<b>pointing</b>: the peak is on the actor. <b>mass</b>: share of the map on the actor; "
        "by chance it is the actor’s area. <b>AUC</b>: the map as a score of the actor’s cells. "
        + ("<b>time share</b>: time steps whose peak is on the actor. " if timed else "")
        + "<b>off-centre third</b>: of those alone whose actor is farthest from the picture’s "
        f"centre. {wanted}"
        f"A cell is the actor’s where {touched} it.",
    )


def _name(head: str) -> str:
    return {"aacf": "AACF", "nonlocal": "non-local"}.get(head, head.replace("_", " "))


_ACTION_MAPS = {"aacf": "action map", "attention": "attention map"}  # of the heads with attention
_OTHER_MAP = "class activation map"
_MAPS = {
    "context": "context map",
    "frame_difference": "frame difference (nothing learned)",
    "mean_mask": "mean training mask (nothing learned)",
}
_MEASURES = {"pointing": "pointing", "mass": "mass", "auc": "AUC", "time_share": "time share"}


def _classes(ours: dict[str, Any], theirs: dict[str, Any] | None, unit: str) -> str:
    """A table a split: average precision of each class, as bars."""
    parts = []
    for number, (split, entry) in enumerate(ours["splits"].items()):
        columns = []
        if theirs and "combined" in theirs["splits"].get(split, {}):
            columns.append(("average pooling", theirs["splits"][split]["combined"]))
        columns += [
            (f"{_name(ours['head'])} {name}", entry[name]) for name in SCORES if name in entry
        ]
        head = "".join(f"<th>{escape(name)}</th>" for name, _ in columns)
        rows = []
        for label in ours["labels"]:
            values = [judged["per_class_ap"].get(label) for _, judged in columns]
            cells = "".join(_bar(value, unit) for value in values)
            rows.append(f"<tr><th>{escape(label)}</th>{cells}</tr>")
        opened = " open" if number == 0 else ""
        parts.append(
            f"<details{opened}><summary>{escape(split)}</summary>"
            f'<table><thead><tr><th class="left">class</th>'
            f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></details>"
        )
    return _section("Average precision of each class", "".join(parts), "")


def _cell(value: float | None, strong: bool = False) -> str:
    if value is None:
        return "<td></td>"
    return f"<td><b>{value:.3f}</b></td>" if strong else f"<td>{value:.3f}</td>"


def _bar(value: float | None, unit: str) -> str:
    if value is None:
        return f"<td>no {unit}</td>"
    return f'<td class="bar"><i style="width:{100 * value:.0f}%"></i><span>{value:.3f}</span></td>'


def _section(title: str, content: str, note: str) -> str:
    note = f'<p class="note">{note}</p>' if note else ""
    return f'<section><h2>{title}</h2>{note}<div class="scroll">{content}</div></section>'


# ---- clips ---------------------------------------------------------------------------------------


def _clips(
    workdir: Path, recipe: Recipe, labels: list[str], data_dir: Path, model: ActionModel
) -> str:
    with open(workdir / "predictions.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    split = shown_split(list(dict.fromkeys(row["split"] for row in table)))
    rows = [Chosen(r["id"], r["labels"], r["predicted"]) for r in table if r["split"] == split]
    scores = {r["id"]: r for r in table if r["split"] == split}
    chosen = report_clips.choose([row for row in rows if row.labels], labels)
    still = recipe.data.frames == 1
    ids = {row.id for row in chosen}
    if still:
        clips = report_stills.load(data_dir, split, ids)
    else:
        clips = report_clips.load_clips(data_dir, split, recipe, ids)
    figures, sheet = [], {}
    for row in chosen:
        if row.id not in clips:
            continue
        if still:
            panels = report_stills.draw(clips[row.id], model, recipe.data)
            picture = report_stills.join(panels)
            strip = with_titles(picture, [row.title])
        else:
            rows_of_frames = report_clips.draw(clips[row.id], model)
            picture = join(rows_of_frames)
            strip = report_clips.draw_strip(row, rows_of_frames)
        sheet.setdefault(row.labels.split("|")[0], strip)
        image = data_uri(picture)
        verdict = "right" if row.right else "wrong"
        predicted = _chance(scores[row.id], recipe.score, row.predicted)
        figures.append(
            f'<figure class="clip {verdict}"><figcaption><b>{escape(row.labels)}</b>'
            f"<span>{'✓' if row.right else '✗'} {escape(row.predicted)} {predicted}</span>"
            f"<small>{escape(row.id)}</small></figcaption>"
            f'<img alt="frames and maps" src="{image}"></figure>'
        )
    if not figures:
        return ""
    columns = 1 if still else 2  # five pictures side by side are wide enough
    write_sheet(workdir / "report" / SHEET, list(sheet.values()), columns)
    rows_shown = f"{_ACTION_MAPS.get(recipe.head, _OTHER_MAP)} (orange)"
    rows_shown += " and context map (blue)" if recipe.head == "aacf" else ""
    flow = "" if recipe.modality != "flow" else "motion in colours, by direction and speed; "
    values = "attention logits"
    if recipe.head not in _ACTION_MAPS:
        values = "evidence for the predicted class"
    if still:
        what = (
            "From left to right: the photograph; where the data have them, the boxes of the people "
            f"who act, and its conjugate, without them; {rows_shown} over it; "
        )
    else:
        what = (
            f"Rows: {FRAMES} frames, evenly spread, as the network gets them; "
            f"{rows_shown} over them; {flow}"
        )
    return _section(
        f"What the model sees: {escape(split)}",
        f'<div class="clips{" wide" * still}">{"".join(figures)}</div>',
        f"{_unit(recipe).capitalize()}s of the split <b>{escape(split)}</b>. {what}"
        "the actor’s outline where the data have a mask. Above: the true class, and the predicted "
        "one with its probability. Shown is "
        f"clip((x − median) / (max − median), 0, 1) of the {values}. <b>The rule of "
        "choice</b>: classes that occur in order, six evenly spread where there are more; of "
        f"each the first {_unit(recipe)} of the split that the model gets right, then the first "
        "that it gets wrong, in turn; where one kind runs out, the other goes on.",
    )


def shown_split(splits: Sequence[str]) -> str:
    """The split whose clips are shown: where the scene says nothing, if there is such a one."""
    return next((name for name in ("test_uniform", "test") if name in splits), splits[0])


def _chance(row: dict[str, str], score: str, label: str) -> str:
    value = row.get(f"{score}_{label}", row.get(f"combined_{label}"))
    return f"{float(value):.2f}" if value else ""


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
    return _section("Training", "".join(figures), "Values of each epoch.") if figures else ""


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
