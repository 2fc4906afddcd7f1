"""Shows what was measured: tables for the terminal, bias.json, one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

from aacf_tf.bias.measuring import Bias
from aacf_tf.bias.sets import ORIGINAL, SETS
from aacf_tf.report.page import load_template
from aacf_tf.visualization.panels import data_uri
from tfrecords.utils.atomic import StrPath, write_json, write_text

MEASURES = ("pointing", "mass", "auc")
_SET, _COLUMN = 26, 24  # characters


def describe(content: Mapping[str, Any]) -> str:
    """Formats the content of bias.json: facts, headline, accuracy, followed scenes, maps."""
    sets, scores = content["sets"], content["scores"]
    lines = ["", *facts(content), "", *headline(content), ""]
    lines.append(_row("top-1 [95 %]", "clips", [*scores, f"change, {scores[0]}"]))
    for entry in sets.values():
        cells = [interval(entry["scores"][score]) for score in scores]
        cells.append(interval(entry["scores"][scores[0]]["change"], sign="+"))
        lines.append(_row(entry["title"], entry["clips"], cells))
    followed = {name: entry["follow"] for name, entry in sets.items() if entry.get("follow")}
    if followed:
        lines += ["", _row("follow the scene [95 %]", "clips", scores)]
        for name, follow in followed.items():
            count = follow[scores[0]]["clips"]
            lines.append(_row(sets[name]["title"], count, [interval(follow[s]) for s in scores]))
            before = [interval(follow[s]["before"]) for s in scores]
            lines.append(_row("  same clips, original", count, before))
    mapped = [(entry["title"], *item) for entry in sets.values() for item in maps_of(entry)]
    if mapped:
        lines += ["", f"{'maps':<{_SET}}{'map':<20}{'pointing':>9}{'mass':>9}{'AUC':>9}"]
        for title, kind, values in mapped:
            numbers = "".join(f"{values.get(m, float('nan')):>9.3f}" for m in MEASURES)
            lines.append(f"{title:<{_SET}}{kind:<20}{numbers}")
    return "\n".join(lines) + "\n"


def write(bias: Bias, directory: StrPath) -> Path:
    """Writes DIR/bias.json and DIR/index.html.

    Args:
        bias: Result of `measure`.
        directory: Folder to write to, created if missing.

    Returns:
        The path of the page.
    """
    directory = Path(str(directory))
    content = bias.content
    sections = [
        (name, entry, SETS[name].meaning, bias.examples.get(name, []))
        for name, entry in content["sets"].items()
    ]
    text = load_template(Path(__file__).parent).render(
        content=content,
        model=content.get("model"),
        facts=facts(content),
        headline=headline(content),
        sections=sections,
        scores=content["scores"],
        maps=[(entry["title"], maps_of(entry)) for _, entry, _, _ in sections if "maps" in entry],
        measures=MEASURES,
        interval=interval,
        uri=data_uri,
    )
    write_json(directory / "bias.json", content)
    write_text(directory / "index.html", text)
    return directory / "index.html"


def maps_of(entry: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    """Lists the maps of a set: title and values by measure."""
    return [(kind.replace("_", " "), values) for kind, values in entry.get("maps", {}).items()]


def facts(content: Mapping[str, Any]) -> list[str]:
    """Lists what was tested, and on what."""
    left = ", ".join(f"{reason}: {count}" for reason, count in content["left_out"].items())
    scenes = {
        "records": "conjugates of the records",
        "removed here": "the clips with the actor removed here",
    }
    masks = {
        "annotated": "annotated",
        "automatic": "automatic, those that the build found (--people), no ground truth",
        "motion": "automatic, from motion (whoever stands still stays in the scene)",
    }
    return [
        f"data     {content['data']}, split {content['split']}: {content['clips']} of "
        f"{content['of']} clips" + (f" (left out: {left})" if left else ""),
        f"masks    {masks[content['masks']]}; scenes: {scenes[content['scenes']]}",
        f"chance   {content['chance']:.3f}; most frequent class {content['largest_class']:.3f}",
    ]


def headline(content: Mapping[str, Any]) -> list[str]:
    """Says in a sentence or two how much the first score goes by the scene."""
    sets, score = content["sets"], content["scores"][0]
    lines = []
    swap = sets.get("swap_other", {})
    if swap.get("follow"):
        follow = swap["follow"][score]
        lines.append(
            f"In the scene of another class {swap['scores'][score]['share']:.1%} are right and "
            f"{follow['share']:.1%} take the scene's class (as they are: "
            f"{sets[ORIGINAL]['scores'][score]['share']:.1%} and {follow['before']['share']:.1%})."
        )
    if "background_only" in sets:
        lines.append(
            f"Without the actor {sets['background_only']['scores'][score]['share']:.1%} are right, "
            f"without the scene {sets['human_only']['scores'][score]['share']:.1%}."
        )
    return lines


def interval(value: Mapping[str, float], sign: str = "") -> str:
    """Formats a share and its interval."""
    share, low, high = (f"{value[key]:{sign}.3f}" for key in ("share", "low", "high"))
    return f"{share} [{low}, {high}]"


def _row(title: str, clips: Any, cells: Any) -> str:
    return f"{title:<{_SET}}{clips:>6}" + "".join(f"{cell:>{_COLUMN}}" for cell in cells)
