"""J-HMDB split 1 from scratch: every head on one backbone, and who goes by the scene.

The setting `scratch` of `real.py`. Top-1 and maps on four test sets (`aacf_tf.bias.composites`;
268 clips each):

    X  the clips of `test`            C  the actor removed and filled
    S  the actor in the scene of another class; follow: how often that class is predicted
    P  the actor kept, as much background removed and filled

and, for heads with a presence score, its AUC of telling X from P (to be .5), P from C, X from C.
`average` is the first stage of the recipe `jhmdb`; the others are trained on its backbone by the
second. `average_tuned` is average pooling trained as long as they are; `average_swap` has seen
actors in other scenes, with the soft edge that S has, as `swap` has; `fame`, `stillmix`,
`background_erasing` and `human_mask` are average pooling with that remedy, trained as long. Each
has a folder of its own in WORKDIR, and one that has been measured is not trained again. Out come
tables on the terminal and in WORKDIR: results.md, results.json and a plot.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from aacf_tf import recipes
from aacf_tf.recipes import HEADS, Recipe
from tfrecords.records.dataset import digest
from tfrecords.utils.atomic import replacing, write_json, write_text
from tfrecords.utils.errors import UsageError

# Said in full, whatever the recipe's own defaults are: a variant is what is written here.
PLAIN = {"head": "aacf", "data.frozen_conjugates": 0.5, "data.swap": 0.0, "loss.difference": 0.0}
SWAP = {**PLAIN, "data.frozen_conjugates": 0.0, "data.swap": 0.67}
AVERAGE = "average"  # the first stage alone
VARIANTS: dict[str, dict[str, Any]] = {
    AVERAGE: {**PLAIN, "head": "average"},
    "aacf": PLAIN,
    "swap": SWAP,
    "swap_difference": {**SWAP, "loss.difference": 1.0},
    "removed_only": {**PLAIN, "data.frozen_conjugates": 0.0},
    # As long on the clips as the others, and on swapped clips as well: the same two stages.
    "average_tuned": {**PLAIN, "head": "average"},
    "average_swap": {**SWAP, "head": "average"},
    # Remedies of others, on average pooling, as long as well.
    "fame": {**PLAIN, "head": "average", "data.fame": 0.5},
    "stillmix": {**PLAIN, "head": "average", "data.stillmix": 0.5},
    "background_erasing": {**PLAIN, "head": "average", "loss.background_erasing": 1.0},
    "human_mask": {**PLAIN, "head": "average", "loss.human_mask": 0.5},
    **{head: {**PLAIN, "head": head} for head in HEADS if head not in ("aacf", "average")},
}
DEFAULT = (AVERAGE, "swap", "average_swap")
SETS = {"x": "test", "c": "test_c", "s": "test_s", "p": "test_p"}
PRESENCE = (("x", "p"), ("p", "c"), ("x", "c"))  # the first is to have the higher score
RIVALS = {"mean_mask": "mean training mask", "frame_difference": "frame difference"}
RESULT_FILE, CONFIG_FILE = "result.json", "config.json"


def run(
    data: Path, workdir: Path, names: Sequence[str], settings: Sequence[tuple[str, str]]
) -> None:
    """Trains and measures variants, or what is left to do; writes and prints the tables.

    Args:
        data: Data set directory, with masks and removed actors.
        workdir: Folder of the runs, the test sets, the tables and the plot.
        names: Variants, in this order.
        settings: (field, value) of the recipe in every variant.
    """
    chosen = {name: make_recipe(name, settings) for name in names}

    from aacf_tf.bias.composites import build_composites

    sets = build_composites(data, workdir / "data")
    for number, (name, recipe) in enumerate(chosen.items(), start=1):
        print(f"variant {number} of {len(chosen)}: {name}", flush=True)
        run_variant(name, recipe, make_recipe(AVERAGE, settings), data, sets, workdir)
    results = collect(workdir)
    tables = render(results)
    write_json(workdir / "results.json", results)
    write_text(workdir / "results.md", tables + "\n")
    plot(results, workdir / "results.png")
    print(f"\n{tables}\n\nresults  {workdir / 'results'}.json, .md, .png")


def make_recipe(name: str, settings: Sequence[tuple[str, str]] = ()) -> Recipe:
    """The recipe `jhmdb` as a variant has it; settings: (field, value) for every variant.

    Raises:
        UsageError: no such variant, field or value.
    """
    from benchmarks import variants

    variants.check_name(name, VARIANTS)
    changes = (*VARIANTS[name].items(), *settings, ("baseline", "none"))
    recipe = variants.load("jhmdb", changes)
    if name == AVERAGE:
        recipe = dataclasses.replace(recipe, stages=recipe.stages[:1])
    recipes.check(recipe)
    return recipe


def run_variant(
    name: str, recipe: Recipe, average: Recipe, data: Path, sets: Path, workdir: Path
) -> None:
    """Trains and measures a variant, or what is left to do of it, into its folder's result.json.

    Args:
        average: recipe of the first stage, on whose backbone the others go on.
        sets: Data sets of `build_composites`.
    """
    from aacf_tf.runs.run import Run
    from aacf_tf.training import loop
    from benchmarks import variants

    run = Run.open(recipe, data, _folder(workdir, name))
    _claim(run)
    if (run.workdir / RESULT_FILE).is_file():
        print(f"{name}: measured already")
        return
    first = Run.open(average, data, _folder(workdir, AVERAGE))
    _claim(first)
    loop.train(first)
    if name != AVERAGE:
        stage = average.stages[0]
        variants.copy_folder(first.checkpoint_folder(stage), run.checkpoint_folder(stage))
        variants.copy_folder(first.log_folder(stage), run.log_folder(stage))
        loop.train(run)
    write_json(run.workdir / RESULT_FILE, measure(run, sets))


def measure(run: Any, sets: Path) -> dict[str, Any]:
    """Measures a trained variant, see the module's docstring.

    Returns:
        head; accuracy: set -> score -> {"share", "error" (standard error), "clips"}; follow: score
        -> the same; presence: pair of sets, such as "x_p" -> AUC; localization: of X, as in
        `metrics.json`.
    """
    from sklearn.metrics import roc_auc_score

    from aacf_tf.bias.composites import load_scenes
    from aacf_tf.evaluation import predictions
    from aacf_tf.evaluation.evaluate import evaluate
    from aacf_tf.training import restoring
    from tfrecords.records.dataset import load_info

    stage = run.recipe.stages[-1]
    model = restoring.restore(run, stage)
    head = run.plan(stage).head
    whole = evaluate(run, model, head, run.workdir)
    forward = predictions.compile_forward(run, model)
    composites = dataclasses.replace(run, data=sets, info=load_info(sets))
    outputs = {
        name: predictions.predict_split(run if name == "x" else composites, model, split, forward)
        for name, split in SETS.items()
    }
    labels, scenes = run.info.labels, load_scenes(sets)
    behind = np.array([labels.index(scenes[name]) for name in outputs["s"].id])
    scores = list(outputs["x"].scores)
    best = {
        name: {score: values.argmax(-1) for score, values in of.scores.items()}
        for name, of in outputs.items()
    }
    result = {
        "head": head,
        "accuracy": {
            name: {score: _share(best[name][score] == of.targets.argmax(-1)) for score in scores}
            for name, of in outputs.items()
        },
        "follow": {score: _share(best["s"][score] == behind) for score in scores},
        "localization": whole["splits"][SETS["x"]]["localization"],
    }
    if outputs["x"].presence is not None:
        result["presence"] = {}
        for one, other in PRESENCE:
            values = outputs[one].presence, outputs[other].presence
            truth = np.repeat([1, 0], [len(value) for value in values])
            auc = roc_auc_score(truth, np.concatenate(values))
            result["presence"][f"{one}_{other}"] = float(auc)
    return result


def collect(workdir: Path) -> dict[str, Any]:
    """Variant -> its result, for all that have been measured."""
    paths = {name: _folder(workdir, name) / RESULT_FILE for name in VARIANTS}
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if path.is_file()
    }


# ---- tables and plot ----------------------------------------------------------------------------


def render(results: Mapping[str, Any]) -> str:
    """Markdown: accuracies, maps, presence, and the claims with what came of them."""
    accuracy = [
        [name]
        + [_shares(result["accuracy"][key]) for key in ("x", "c", "s")]
        + [_shares(result["follow"]), _shares(result["accuracy"]["p"])]
        for name, result in results.items()
    ]
    maps = [[name, *_places(result["localization"], "action")] for name, result in results.items()]
    some = next(iter(results.values()))["localization"]
    maps += [[f"(no learning: {title})", *_places(some, rival)] for rival, title in RIVALS.items()]
    presence = [
        [name, *(_number(result["presence"][f"{a}_{b}"]) for a, b in PRESENCE)]
        for name, result in results.items()
        if "presence" in result
    ]
    measures = ("pointing", "mass", "AUC")
    parts = [
        "Top-1, action / combined, with standard error",
        _table(["", "X", "C", "S", "follow", "P"], accuracy),
        f"Maps on X (the actor has {some['mask_area']:.3f} of the cells); third: off-centre actors",
        _table(
            ["", *measures, *(f"{m}, third" for m in measures), "context mass", "context AUC"],
            maps,
        ),
    ]
    if presence:
        parts += ["AUC of the presence score", _table(["", "X-P", "P-C", "X-C"], presence)]
    if AVERAGE in results and "swap" in results:
        rows = [
            [text, _number(value), "yes" if low <= value <= high else "no"]
            for text, value, low, high in claims(results)
        ]
        parts += ["What `swap` is to hold", _table(["", "measured", "holds"], rows)]
    return "\n\n".join(parts)


def claims(results: Mapping[str, Any]) -> list[tuple[str, float, float, float]]:
    """(claim, measured value, least, most) of `swap` beside average pooling."""
    ours, theirs = results["swap"], results[AVERAGE]

    def share(result: Mapping[str, Any], key: str, score: str) -> float:
        scores = result["follow"] if key == "follow" else result["accuracy"][key]
        return scores[score]["share"]

    def ratio(one: float, other: float) -> float:
        return one / max(other, 1e-9)

    place = ours["localization"]
    gain = share(ours, "s", "action") - share(theirs, "s", "combined")
    follow = ratio(share(ours, "follow", "action"), share(theirs, "follow", "combined"))
    holes = ratio(share(ours, "c", "action"), share(ours, "x", "action"))
    whole = share(ours, "x", "combined") - share(theirs, "x", "combined")
    most = float("inf")
    return [
        ("S, action: above average pooling by .05 or more", gain, 0.05, most),
        ("follow, action: at most .75 of average pooling's", follow, 0.0, 0.75),
        ("C, action: at most .7 of its own X", holes, 0.0, 0.7),
        ("X, combined: not below average pooling", whole, 0.0, most),
        ("pointing at least .55", place["action_pointing"], 0.55, 1.0),
        ("AUC at least .70", place["action_auc"], 0.70, 1.0),
        ("AUC of the off-centre third at least .68", _third(place, "action_auc"), 0.68, 1.0),
        ("context AUC at most .30", place["context_auc"], 0.0, 0.30),
        ("presence X-P within .42 and .58", ours["presence"]["x_p"], 0.42, 0.58),
        ("presence P-C at least .60", ours["presence"]["p_c"], 0.60, 1.0),
    ]


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Accuracies and localisation of all variants, with chance and what no learning gives."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(5 + len(results), 4))
    places = np.arange(len(results))
    bars = {"X": "#0072b2", "C": "#b0b0b0", "S": "#009e73", "follow": "#e69f00"}
    for number, (key, color) in enumerate(bars.items()):
        found = [
            _first(r["follow"] if key == "follow" else r["accuracy"][key.lower()])
            for r in results.values()
        ]
        axes[0].bar(
            places + 0.2 * (number - 1.5),
            [value["share"] for value in found],
            0.18,
            yerr=[value["error"] for value in found],
            color=color,
            label=key,
        )
    axes[0].set_ylabel("top-1 (action score where there is one)")
    measures = {"pointing": "#0072b2", "mass": "#b0b0b0", "auc": "#009e73"}
    some = next(iter(results.values()))["localization"]
    for number, (key, color) in enumerate(measures.items()):
        values = [r["localization"][f"action_{key}"] for r in results.values()]
        axes[1].bar(places + 0.25 * (number - 1), values, 0.23, color=color, label=key)
        axes[1].axhline(some[f"frame_difference_{key}"], color=color, linewidth=0.8, linestyle=":")
    axes[1].set_ylabel("action map on X (dotted: frame difference)")
    for axis in axes:
        names = [name.replace("_", "\n") for name in results]
        axis.set_xticks(places, names, rotation=60, ha="right", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    pyplot.close(figure)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _first(scores: Mapping[str, Any]) -> Mapping[str, float]:
    return scores.get("action") or scores["combined"]


def _shares(scores: Mapping[str, Any]) -> str:
    found = [scores[score] for score in ("action", "combined") if score in scores]
    return " / ".join(f"{value['share']:.3f} ±{value['error']:.3f}" for value in found)


def _places(localization: Mapping[str, Any], prefix: str) -> list[str]:
    names = [f"{prefix}_{measure}" for measure in ("pointing", "mass", "auc")]
    values = [localization.get(name) for name in names]
    values += [_third(localization, name) for name in names]
    if prefix == "action":
        values += [localization.get("context_mass"), localization.get("context_auc")]
    else:
        values += [None, None]
    return [_number(value) for value in values]


def _third(localization: Mapping[str, Any], name: str) -> float | None:
    return localization["off_centre_third"].get(name)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


# ---- folders ------------------------------------------------------------------------------------


def _folder(workdir: Path, name: str) -> Path:
    return workdir / "variants" / name


def _claim(run: Any) -> None:
    """Notes what a folder holds; UsageError where it is something else."""
    path = run.workdir / CONFIG_FILE
    data = digest(run.data)
    if path.is_file():
        same = recipes.load_recipe(str(path)) == run.recipe
        if not same or json.loads(path.read_text(encoding="utf-8"))["data"] != data:
            raise UsageError(
                f"--workdir: expected a run with these settings and data in {run.workdir}, "
                "received another one; remove that folder or give another --workdir."
            )
    write_json(path, {"recipe": recipes.to_dict(run.recipe), "data": data})


def _share(hits: np.ndarray) -> dict[str, float]:
    share = float(hits.mean())
    error = float(np.sqrt(share * (1 - share) / len(hits)))
    return {"share": share, "error": error, "clips": len(hits)}
