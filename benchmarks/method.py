"""Every head side by side on 'actions in context': who cheats, and where does it look.

    python benchmarks/method.py              all heads, 3 seeds: frozen, fine-tuned, from scratch
    python benchmarks/method.py --quick      1 seed, and the slow settings for two heads only
    python benchmarks/method.py --ablate     AACF with one loss term removed at a time, 5 seeds
    python benchmarks/method.py --world=twelve    12 motions and 12 scenes; or short: the actors act
                                             in a third of the frames

    frozen      heads on the cached maps of a backbone that has learned from other clips
    finetuned   the same backbone goes on learning, at a tenth of the head's rate
    scratch     backbone and head from the biased pairs alone, as the recipe `demo`

The pretrained backbone stands in for one trained on Kinetics (`pretraining.py`); it may know what
the generator knows, the heads are trained by class labels alone. In all settings the last epoch is
judged: the rates have fallen to almost nothing by then, and the split `validation` plays in the
scenes of training.

One run is one folder, WORKDIR/SETTING/NAME/seed-N, with a metrics.json as `train_main.py` writes;
what is there is not done again. Out come tables on the terminal and in WORKDIR: method.md,
method.json and a plot, method.png (with --ablate ablation.*).
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Iterable, Sequence

from absl import flags

from aacf_tf import recipes
from aacf_tf.recipes import FACTOR_TERMS, HEADS, PAIR_HEADS, Recipe, Stage
from tfrecords.records.dataset import digest
from tfrecords.utils import commandline
from tfrecords.utils.atomic import write_json, write_text
from tfrecords.utils.errors import UsageError
from tfrecords.utils.progress import progress

SETTINGS = ("frozen", "finetuned", "scratch")
# Of these a benchmark in a quarter of an hour has all settings.
QUICK_HEADS = ("average", "aacf")
MILESTONES = ((0.5, 0.3), (0.75, 0.1), (0.92, 0.03))
# Arguments of `worlds.write`; the demo's is the recipe's own data.
WORLDS = {
    "demo": {"classes": 6, "scenes": 6},
    "twelve": {"classes": 12, "scenes": 12},
    "short": {"classes": 6, "scenes": 6, "acting": 1 / 3},
}
CONFIG_FILE = "config.json"
# Not what makes a row or a setting: its head, its seed, what the frozen backbone sees.
SETTABLE = (
    "loss.",
    "hidden",
    "action_maps",
    "stages.0.epochs",
    "stages.0.learning_rate",
    "stages.0.weight_decay",
)


def define_flags() -> None:
    """In a function, since every command has its own `--data`."""
    text, words = flags.DEFINE_string, flags.DEFINE_list
    flags.DEFINE_enum("world", "demo", list(WORLDS), "Which actions in which contexts.")
    text("data", None, "Data set directory; default data/WORLD, built where missing.")
    text("workdir", None, "Of runs, tables and plot; default runs/method-WORLD.")
    seeds = "Number of seeds: 3, with --quick 1, with --ablate 5."
    flags.DEFINE_integer("seeds", None, seeds, 1)
    words("settings", None, f"Of {', '.join(SETTINGS)}; default all.")
    words("heads", None, f"Of {', '.join(HEADS)}; default all.")
    flags.DEFINE_bool("quick", False, "One seed; fine-tuned and from scratch two heads alone.")
    flags.DEFINE_bool("ablate", False, "AACF without one term at a time, frozen and from scratch.")
    setting = "A field of the recipe: --set loss.time_spread_floor=0.4."
    flags.DEFINE_multi_string("set", [], setting)
    flags.DEFINE_integer("jobs", os.cpu_count() or 1, "Runs at a time, one core each.", 1)


@dataclasses.dataclass(frozen=True)
class Cell:
    """Describes a training: a setting, a head or an ablation of AACF (`no_TERM`), a seed.

    `overrides` are assignments to fields of the recipe, as `--set` takes them.
    """

    setting: str
    name: str
    seed: int
    overrides: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        return "aacf" if self.name.startswith("no_") else self.name

    def folder(self, workdir: Path) -> Path:
        return workdir / self.setting / self.name / f"seed-{self.seed}"

    def recipe(self) -> Recipe:
        """The recipe `demo` with this setting's schedule (method.md's three, our choice)."""
        base = recipes.load_recipe("demo")
        stage = base.stages[0]
        if self.setting != "scratch":
            stage = dataclasses.replace(
                stage,
                learning_rate=5e-3,
                warmup=30,
                milestones=MILESTONES,
                pairs_first=0.0,
                **(
                    {"epochs": 8, "batch_size": 32, "backbone_rate": 0.0}
                    if self.setting == "frozen"
                    else {"epochs": 3, "backbone_rate": 0.1, "backbone_start": 1 / 3}
                ),
            )
        recipe = dataclasses.replace(
            base,
            head=self.head,
            baseline="none",
            seed=self.seed,
            stages=(stage,),
            precision="float32",  # for all settings alike, on all machines
        )
        if self.name.startswith("no_"):
            recipe = recipes.override(recipe, f"loss.{self.name[3:]}", 0.0)
        for assignment in self.overrides:
            field, equals, value = assignment.partition("=")
            if not equals or not field.startswith(SETTABLE):
                raise UsageError(
                    f"--set: expected field=value with a field {', '.join(SETTABLE)}..., "
                    f"received {assignment!r}."
                )
            recipe = recipes.override(recipe, field, value)
        recipes.check(recipe)
        return recipe

    def cost(self) -> float:
        """Relative, for the progress bar."""
        clips = 2 if self.head in PAIR_HEADS else 1
        return 8.0 + {"frozen": 2, "finetuned": 5 * clips, "scratch": 40 * clips}[self.setting]


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    from benchmarks import tables

    options = flags.FLAGS
    seeds = options.seeds or (1 if options.quick else 5 if options.ablate else 3)
    cells = plan(
        seeds,
        _chosen("settings", options.settings, SETTINGS),
        _chosen("heads", options.heads, HEADS),
        quick=options.quick,
        ablate=options.ablate,
    )
    if not cells:
        raise UsageError("--settings, --heads: expected some runs of this kind, received none.")
    cells = [dataclasses.replace(cell, overrides=tuple(options.set)) for cell in cells]
    cells[0].recipe()  # a wrong assignment is an error before anything is started
    workdir = Path(options.workdir or f"runs/method-{options.world}")
    data = Path(options.data) if options.data else _build(options.world)
    left = [cell for cell in cells if not _done(cell, options.world, data, workdir)]
    print(f"{len(cells)} runs, {len(cells) - len(left)} of them done already", flush=True)
    _run_all(left, options.world, data, workdir, options.jobs)
    results = tables.collect(cells, workdir)
    text = "\n\n".join(tables.table(results, setting) for setting in results)
    name = "ablation" if options.ablate else "method"
    write_json(workdir / f"{name}.json", results)
    write_text(workdir / f"{name}.md", text + "\n")
    tables.plot(results, workdir / f"{name}.png")
    print(f"\n{text}\n\nresults  {workdir / name}.json, .md, .png")


def plan(
    seeds: int, settings: Iterable[str], heads: Sequence[str], *, quick: bool, ablate: bool
) -> list[Cell]:
    """The runs, those of one seed together: they share a backbone and its maps."""
    cells = []
    for seed in range(seeds):
        for setting in settings:
            names = heads
            if ablate:
                if setting == "finetuned":
                    continue
                names = ["aacf", *(f"no_{term}" for term in FACTOR_TERMS)]
            elif quick and setting != "frozen":
                names = [head for head in heads if head in QUICK_HEADS]
            cells += [Cell(setting, name, seed) for name in names]
    return cells


def _chosen(flag: str, given: Sequence[str] | None, allowed: Sequence[str]) -> list[str]:
    for name in given or ():
        if name not in allowed:
            raise UsageError(f"--{flag}: expected some of {', '.join(allowed)}, received {name!r}.")
    return [name for name in allowed if not given or name in given]


def _build(world: str) -> Path:
    """The data set of a world, built where it is not."""
    directory = Path("data") / world
    if world == "demo":
        from aacf_tf.pipeline import demo_data

        return demo_data(directory)
    from benchmarks import worlds

    return worlds.write(directory, **WORLDS[world])


def _done(cell: Cell, world: str, data: Path, workdir: Path) -> bool:
    """Returns whether a run is finished, and notes its settings if it has not begun.

    Raises:
        UsageError: its folder holds a run with other settings or data.
    """
    folder = cell.folder(workdir)
    path = folder / CONFIG_FILE
    config = {"world": world, "data": digest(data), "recipe": recipes.to_dict(cell.recipe())}
    if not folder.is_dir():
        write_json(path, config)
    elif not path.is_file() or json.loads(path.read_text(encoding="utf-8")) != config:
        raise UsageError(
            f"--workdir: expected a run with these settings and data in {folder}, received another "
            "one; remove that folder or give another --workdir."
        )
    return (folder / "metrics.json").is_file()


# ---- the runs, in processes of one core each ----------------------------------------------------


def _run_all(cells: Sequence[Cell], world: str, data: Path, workdir: Path, jobs: int) -> None:
    """Two processes of one core each do more than one of two: small layers do not share well."""
    if not cells:
        return
    workdir.mkdir(parents=True, exist_ok=True)
    seeds = sorted({cell.seed for cell in cells if cell.setting != "scratch"})
    total = sum(cell.cost() for cell in cells)
    bar = progress(
        total=round(total), desc="all runs", bar_format="{l_bar}{bar}| {elapsed}<{remaining}"
    )
    pool = ProcessPoolExecutor(
        min(jobs, len(cells)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(workdir,),
    )
    with bar, pool:
        for pretrained in [pool.submit(_pretrained, seed, world, workdir) for seed in seeds]:
            pretrained.result()
        started = {pool.submit(_run, cell, world, data, workdir): cell for cell in cells}
        try:
            for finished in as_completed(started):
                finished.result()
                bar.update(started[finished].cost())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # not after hours of the others
            raise


def _start_worker(workdir: Path) -> None:
    """Prepares a worker of one core, whose runs report their progress to a file."""
    commandline.quiet_tensorflow()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    log = os.open(workdir / f"worker-{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _end_with(parent: int) -> None:
    """Ends this process when its parent is gone, which a signal may end without a word to it."""
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)


def _pretrained(seed: int, world: str, workdir: Path) -> Path:
    """Weights of the pretrained backbone of a seed, which are made where they are not."""
    from benchmarks.pretraining import WEIGHTS_FILE, pretrain

    directory = workdir / "pretrained" / f"seed-{seed}"
    pretrain(seed, directory, WORLDS[world]["classes"], WORLDS[world]["scenes"])
    return directory / WEIGHTS_FILE


def _run(cell: Cell, world: str, data: Path, workdir: Path) -> None:
    from tensorflow import keras

    from aacf_tf.backbones import build_backbone
    from aacf_tf.evaluation.evaluate import evaluate
    from aacf_tf.runs.run import Run
    from aacf_tf.training import loop, restoring

    keras.backend.clear_session()
    folder = cell.folder(workdir)
    run = Run.open(cell.recipe(), data, folder)
    stage = run.recipe.stages[0]
    if cell.setting == "scratch":
        loop.train(run)
        model = restoring.restore(run, stage, best=False)
    else:
        backbone = build_backbone(run.recipe.backbone, **run.recipe.backbone_options)
        backbone.load_weights(_pretrained(cell.seed, world, workdir))
        if cell.setting == "finetuned":
            loop.train(run, backbone)
            model = restoring.restore(run, stage, best=False)
        else:
            model = _train_on_maps(run, stage, backbone)
    evaluate(run, model, cell.head, folder)


_maps: dict[int, Any] = {}  # of the last seed -> (inputs, targets); see `_cached_maps`


def _cached_maps(run: Any, stage: Stage, backbone: Any) -> tuple[dict[str, Any], Any]:
    """The frozen backbone's maps of the training pairs, computed once a seed and process.

    Returns:
        inputs: clip, conjugate `[N, 2, t, h, w, D]`, as they are and mirrored, has_conjugate `[N]`;
        and the targets.
    """
    import tensorflow as tf

    if run.recipe.seed not in _maps:
        _maps.clear()
        forward = tf.function(lambda clips: backbone(clips, training=False))
        parts = defaultdict(list)
        for inputs, targets, _ in run.batches("train", stage, training=False):
            for name in ("clip", "conjugate"):
                frames = inputs[name]
                views = forward(frames), forward(tf.reverse(frames, [3]))
                parts[name].append(tf.stack(views, axis=1))
            parts["has_conjugate"].append(inputs["has_conjugate"])
            parts["targets"].append(targets)
        whole = {name: tf.concat(values, axis=0) for name, values in parts.items()}
        _maps[run.recipe.seed] = (whole, whole.pop("targets"))
    return _maps[run.recipe.seed]


def _train_on_maps(run: Any, stage: Stage, backbone: Any) -> Any:
    """A head on the maps of a frozen backbone, half of the pairs mirrored; the whole model."""
    import tensorflow as tf
    from tensorflow import keras

    from aacf_tf.recipes import plan_stage
    from aacf_tf.training.optimizers import make_optimizer

    seed = run.recipe.seed
    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy("float32")
    inputs, targets = _cached_maps(run, stage, backbone)
    batch_size = min(stage.batch_size, len(targets))
    steps = len(targets) // batch_size
    model = run.build(stage, backbone=backbone, steps=steps * stage.epochs)
    optimizer = make_optimizer(plan_stage(run.recipe, stage, steps * stage.epochs), model)
    model.compile(optimizer=optimizer, weighted_metrics=[])

    def take(rows: tf.Tensor, view: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        places = tf.stack([rows, view], axis=-1)  # one view for clip and conjugate
        batch = {
            "features": tf.gather_nd(inputs["clip"], places),
            "conjugate_features": tf.gather_nd(inputs["conjugate"], places),
        }
        known = tf.gather(inputs["has_conjugate"], rows)
        return {**batch, "has_conjugate": known}, tf.gather(targets, rows)

    rows = tf.data.Dataset.range(len(targets)).shuffle(len(targets), seed=seed)
    views = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).map(lambda n: n % 2)
    pairs = tf.data.Dataset.zip((rows, views)).batch(batch_size, drop_remainder=True)
    model.fit(pairs.map(take).prefetch(2), epochs=stage.epochs, verbose=0)
    return model


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same; the workers inherit the path.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
