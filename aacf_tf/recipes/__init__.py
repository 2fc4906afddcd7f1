"""Training recipes, as data: all settings of a run under one name.

`load_recipe(name)` returns a recipe; a flag or `--set field=value` overrides any field by its
dotted name (`loss.context=0`, `stages.1.epochs=5`); a run's `config.json` holds `to_dict` of its
recipe; `pretrained` gives its variant for pretrained weights; `plan_stage` compiles a stage into
the settings that act.

    demo, jhmdb, default, stills                ours; default and stills are for the user's own data
    actionthread, hollywood2, hacs30, voc2012   the paper's; each docstring names what its
                                                supplement leaves open and we chose
"""

from aacf_tf.recipes.catalog import RECIPES, load_recipe
from aacf_tf.recipes.checks import check
from aacf_tf.recipes.options import (
    FACTOR_TERMS,
    HEADS,
    MODALITIES,
    OPTIMIZERS,
    PAIR_HEADS,
    PRECISIONS,
    STRATEGIES,
    DataOptions,
    LossOptions,
    Recipe,
    Stage,
)
from aacf_tf.recipes.overrides import from_dict, override, to_dict
from aacf_tf.recipes.pretrained import pretrained
from aacf_tf.recipes.stage_plan import StagePlan, plan_stage

__all__ = [
    "FACTOR_TERMS",
    "HEADS",
    "MODALITIES",
    "OPTIMIZERS",
    "PAIR_HEADS",
    "PRECISIONS",
    "RECIPES",
    "STRATEGIES",
    "DataOptions",
    "LossOptions",
    "Recipe",
    "Stage",
    "StagePlan",
    "check",
    "from_dict",
    "load_recipe",
    "override",
    "plan_stage",
    "pretrained",
    "to_dict",
]
