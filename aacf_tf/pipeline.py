"""Carries out a recipe, as `train_main.py` asks: train, evaluate, export, report, in this order.

WORKDIR/config.json   the recipe; a directory holds one run
WORKDIR/metrics.json  predictions.csv  export/aacf/<version>/  report/index.html
WORKDIR/baselines/average/   run directory of the baseline, average pooling
WORKDIR/seed-N/              run directory of each of several seeds (`aacf_tf.evaluation.seeds`)
WORKDIR/report/comparison.html   this run beside others
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from pathlib import Path
from typing import Sequence

from tensorflow import keras

from aacf_tf.evaluation import evaluate as evaluation
from aacf_tf.evaluation import seeds
from aacf_tf.evaluation.metrics import BASELINE, METRICS_FILE
from aacf_tf.evaluation.tables import table
from aacf_tf.recipes import Recipe, load_recipe
from aacf_tf.report.page import write_comparison, write_report
from aacf_tf.runs.devices import make_strategy, sum_over_workers, worker_of
from aacf_tf.runs.directory import CONFIG_FILE, alone, claim, read_config
from aacf_tf.runs.mirror import Mirror, worked_on
from aacf_tf.runs.run import Run
from aacf_tf.serving.export import export
from aacf_tf.training import loop, plan, restoring
from aacf_tf.training.preparation import feature_cache
from tfrecords.build import build_dataset, summary
from tfrecords.records.dataset import INFO_FILE, digest, load_info, test_splits
from tfrecords.sources import SourceOptions
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import AnyPath, to_path

logger = logging.getLogger(__name__)

STEPS = ["evaluate", "export", "report"]  # after training


def demo_data(directory: Path) -> Path:
    """Builds the demo's data set, or the part of it that is still missing."""
    if not (directory / INFO_FILE).is_file():
        build_dataset(SourceOptions(), directory, source="demo")
        print(summary(directory))
    return directory


def run(
    recipe: Recipe, data: AnyPath, workdir: AnyPath, *, mode: str = "all", resume: bool = True
) -> None:
    """Carries out a recipe.

    Args:
        recipe: Recipe to carry out.
        data: Data set directory.
        workdir: Run directory, created if missing; may be remote, see `aacf_tf.runs.mirror`.
        mode: Step to take, train, evaluate, features, export, report or plan, or `all`.
        resume: Whether to resume a run found in `workdir`; otherwise it is an error.

    Raises:
        UsageError: `workdir` holds another run, another training is at work in it, or the input of
            a step is missing.
        UserError: A step failed.
    """
    if mode == "plan":
        print(plan.describe(Run.open(recipe, data, str(workdir))))
        return
    strategy = make_strategy(recipe.strategy)  # first: nothing may have been computed
    chief = worker_of(strategy)[0] == 0
    with worked_on(workdir) as (folder, mirror):
        current = Run.open(recipe, data, folder)
        current.mirror = mirror
        trains = mode in ("all", "train")
        # A remote directory, worked on in a copy, has no locks.
        with alone(folder) if trains and chief and not mirror else contextlib.nullcontext():
            claim(current, resume, new=trains or mode == "features", chief=chief)
            if mode == "features":
                stage, model = restoring.build_frozen(current)
                made = feature_cache.cache(current, stage, model, [*current.info.splits])
                print(f"features {made}")
                return
            if trains:
                loop.train(current)
                if _baseline_alone(recipe):
                    loop.train(_baseline_run(current))
            if chief:
                _finish(current, [step for step in STEPS if mode in ("all", step)])
        sum_over_workers(strategy, [0.0])  # barrier: if one worker exits early, the others abort


def _finish(current: Run, steps: list[str]) -> None:
    """Carries out the steps after training."""
    recipe, workdir = current.recipe, current.workdir
    # Without a test split the training is not lost: the model is still exported.
    if steps == STEPS and not test_splits(current.info):
        logger.warning(
            f"Warning: {current.data} has no split whose name begins with 'test': "
            "the model is exported, not evaluated."
        )
        steps = ["export"]
    if "evaluate" in steps:
        evaluate(current)
        print(table(workdir))
        current.store()
    if "export" in steps or "report" in steps:
        model = restoring.restore(current, recipe.stages[-1])
        if "export" in steps:
            version = export(
                model,
                recipe,
                current.info.labels,
                workdir / "export" / "aacf",
                multi_label=current.info.multi_label,
                digest=digest(current.data),
            )
            print(f"model    {current.address(version)}")
            current.store()
        if "report" in steps:
            print(f"report   {current.address(write_report(current, model))}")
    if "evaluate" in steps:
        print(f"metrics  {current.address(workdir / METRICS_FILE)}")


def run_seeds(
    recipe: Recipe,
    numbers: Sequence[int],
    data: AnyPath,
    workdir: AnyPath,
    *,
    mode: str = "all",
    resume: bool = True,
) -> None:
    """Carries out a recipe with several seeds and summarizes their metrics.

    Args:
        recipe: Recipe to carry out.
        numbers: Seeds, each with a run directory of its own below `workdir`.
        data, workdir, mode, resume: See `run`.
    """
    for number in numbers:
        keras.backend.clear_session()  # frees the graphs and layers of the run before
        seeded = dataclasses.replace(recipe, seed=number)
        run(seeded, data, seeds.folder(workdir, number), mode=mode, resume=resume)
    judged = mode in ("all", "evaluate") and test_splits(load_info(data))
    if judged and worker_of(make_strategy(recipe.strategy))[0] == 0:  # the chief
        print(seeds.table(seeds.collect(workdir, numbers)))
        print(f"seeds    {workdir / seeds.SEEDS_FILE}")


def compare(workdirs: Sequence[AnyPath], data: AnyPath | None = None) -> None:
    """Reports several runs side by side, in `report/comparison.html` of the first.

    Args:
        workdirs: Directories of evaluated runs; each run is that of its config.json.
        data: Data set directory of all of them; None: where each was trained.

    Raises:
        UsageError: A directory holds no evaluated run, or its data are not those of its training.
        UserError: A file is damaged.
    """
    runs = []
    with contextlib.ExitStack() as stack:
        for workdir, name in zip(workdirs, _short_names(workdirs)):
            current = _reopen(*stack.enter_context(worked_on(workdir)), workdir, data)
            runs.append((name, current, restoring.restore(current, current.recipe.stages[-1])))
        first = runs[0][1]
        path = first.workdir / "report" / "comparison.html"
        write_comparison(runs, path)
        print(f"report   {first.address(path)}")


def _reopen(folder: Path, mirror: Mirror | None, workdir: AnyPath, data: AnyPath | None) -> Run:
    """Opens the run that a directory holds."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise UsageError(f"--workdir: expected a trained run, received {workdir}.")
    trained_on = read_config(path).get("data")
    if not isinstance(trained_on, dict) or not isinstance(trained_on.get("directory"), str):
        raise UserError(f"{path}: expected the data of a run, received {trained_on!r}.")
    data = data or to_path(trained_on["directory"])
    current = Run.open(load_recipe(str(path)), data, folder)
    current.mirror = mirror
    if digest(data) != trained_on.get("digest"):
        raise UsageError(
            f"--data: expected the data set that {workdir} was trained on (digest "
            f"{trained_on.get('digest')}), received {data} (digest {digest(data)})."
        )
    return current


def _short_names(paths: Sequence[AnyPath]) -> list[str]:
    """Returns as many last parts of each path as tell all of them apart."""
    parts = [str(path).rstrip("/").split("/") for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise UsageError(f"--workdir: expected different directories, received {paths[0]} twice.")


def evaluate(current: Run) -> None:
    """Evaluates the run's model, and its baseline if there is one."""
    recipe, workdir = current.recipe, current.workdir
    stage = recipe.stages[-1]
    model = restoring.restore(current, stage)
    evaluation.evaluate(current, model, current.plan(stage).head, workdir)
    if recipe.head == "average":
        return
    folder = workdir / BASELINE
    if _baseline_alone(recipe):
        baseline = _baseline_run(current)
        model = restoring.restore(baseline, baseline.recipe.stages[-1])
        evaluation.evaluate(baseline, model, "average", folder)
    elif recipe.baseline == "stage":
        for stage in recipe.stages:
            if current.plan(stage).head == "average":
                model = restoring.restore(current, stage)
                evaluation.evaluate(current, model, "average", folder)


def _baseline_alone(recipe: Recipe) -> bool:
    return recipe.baseline == "alone" and recipe.head != "average"


def _baseline_run(current: Run) -> Run:
    """Returns the run of the same stages with average pooling."""
    recipe = dataclasses.replace(current.recipe, head="average", baseline="none")
    return dataclasses.replace(current, recipe=recipe, workdir=current.workdir / BASELINE)
