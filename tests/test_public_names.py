"""Names that users rely on: what README, docs and examples import, and the commands.

Modules may move; these may not.
"""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
NAMES = {
    "tfrecords": ("ClipPair", "load_info", "read_dataset", "translate_errors", "write_dataset"),
    "aacf_tf": ("build_model", "load_recipe", "load"),
    "aacf_tf.backbones": ("BACKBONES", "build_backbone"),
    "aacf_tf.recipes": (
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
        "check",
        "from_dict",
        "load_recipe",
        "override",
        "to_dict",
    ),
    "aacf_tf.console": ("train", "build", "show", "doctor", "attend", "complete", "bias"),
    "aacf_tf.bias": ("Options", "describe", "measure", "open_classifier", "write"),
    "keras_layers": (
        "ActionContextAttention",
        "ActionContextFactorization",
        "AttentionPooling",
        "BatchNormalization3D",
        "ConvUnit3D",
        "FramesToImages",
        "ImagesToFrames",
        "InceptionModule3D",
        "NonLocalBlock3D",
        "StatelessDropout",
        "attention_pooling",
    ),
}
# The first and the last flag that a command defines.
COMMANDS = {
    "tfrecords.build": ("source", "classes"),
    "tfrecords.show": ("split", "verify"),
    "aacf_tf.attend": ("model", "end"),
    "aacf_tf.completion": ("images", "seed"),
    "aacf_tf.bias": ("model", "resize"),
    "aacf_tf.backbones.table": ("backbone", "size"),
    "train_main": ("recipe", "set"),
}


@pytest.mark.parametrize("module", NAMES)
def test_public_names_can_be_imported(module):
    imported = importlib.import_module(module)
    missing = [name for name in NAMES[module] if getattr(imported, name, None) is None]
    assert not missing


def test_importing_the_packages_does_not_start_tensorflow():
    code = (
        "import sys, keras_layers, tfrecords, aacf_tf, aacf_tf.recipes, aacf_tf.backbones; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)


@pytest.mark.parametrize("module", COMMANDS)
def test_help_lists_the_flags_of_the_project(module):
    command = [sys.executable, "-m", module, "--help"]
    shown = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    usage, _, listed = shown.partition("Flags:")
    assert len(usage.strip().splitlines()) > 2
    flags = [line.split()[0] for line in listed.splitlines() if line.startswith("  --")]
    first, last = COMMANDS[module]
    assert {f"--{first}", f"--{last}"} <= {*flags}
    assert not {"--logtostderr", "--verbosity"} & {*flags}  # absl's own
