"""The tables of the page: scores, where maps lie, classes."""

from __future__ import annotations

from html import escape
from typing import Any

from aacf_tf.evaluation.classification import SCORES
from aacf_tf.recipes import Recipe


def unit_of(recipe: Recipe) -> str:
    """What is counted."""
    return "photograph" if recipe.data.frames == 1 else "clip"


def score_section(
    ours: dict[str, Any], theirs: dict[str, Any] | None, classes: int, unit: str
) -> str:
    """Rows: who and by which score; columns: the splits."""
    splits = ours["splits"]
    rows = [("chance", {}, "")]
    if theirs:
        rows.append(("average pooling", theirs["splits"], "combined"))
    for score in (*SCORES, "reliability"):
        if any(score in entry for entry in splits.values()):
            rows.append((f"{head_name(ours['head'])} {score}", splits, score))
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
    return section(
        "Scores",
        f"<table><thead><tr><th></th>{head}</tr><tr><th></th>{under}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>",
        " ".join(notes),
    )


def localization_section(ours: dict[str, Any], theirs: dict[str, Any] | None) -> str:
    """Rows: whose map on which split; columns: the measures."""
    body = []
    threshold = 0.0
    maps = {**_MAPS, "action": ACTION_MAPS.get(ours["head"], OTHER_MAP)}
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
    return section(
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


def head_name(head: str) -> str:
    return {"aacf": "AACF", "nonlocal": "non-local"}.get(head, head.replace("_", " "))


ACTION_MAPS = {"aacf": "action map", "attention": "attention map"}  # of the heads with attention
OTHER_MAP = "class activation map"
_MAPS = {
    "context": "context map",
    "frame_difference": "frame difference (nothing learned)",
    "mean_mask": "mean training mask (nothing learned)",
}
_MEASURES = {"pointing": "pointing", "mass": "mass", "auc": "AUC", "time_share": "time share"}


def class_section(ours: dict[str, Any], theirs: dict[str, Any] | None, unit: str) -> str:
    """A table a split: average precision of each class, as bars."""
    parts = []
    for number, (split, entry) in enumerate(ours["splits"].items()):
        columns = []
        if theirs and "combined" in theirs["splits"].get(split, {}):
            columns.append(("average pooling", theirs["splits"][split]["combined"]))
        columns += [
            (f"{head_name(ours['head'])} {name}", entry[name]) for name in SCORES if name in entry
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
    return section("Average precision of each class", "".join(parts), "")


def _cell(value: float | None, strong: bool = False) -> str:
    if value is None:
        return "<td></td>"
    return f"<td><b>{value:.3f}</b></td>" if strong else f"<td>{value:.3f}</td>"


def _bar(value: float | None, unit: str) -> str:
    if value is None:
        return f"<td>no {unit}</td>"
    return f'<td class="bar"><i style="width:{100 * value:.0f}%"></i><span>{value:.3f}</span></td>'


def section(title: str, content: str, note: str) -> str:
    note = f'<p class="note">{note}</p>' if note else ""
    return f'<section><h2>{title}</h2>{note}<div class="scroll">{content}</div></section>'
