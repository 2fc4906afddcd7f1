"""Each recipe of the paper from its data set's own layout to the report, on small made data.

And `stills`, ours for photographs, from annotated ones to the picture of where the model looks.

What makes a run long is made small: frames, epochs, and the backbone, which ends early. All else is
the recipe's: its stages, its optimisers, what is frozen; in bfloat16.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from aacf_tf import pipeline, recipes
from aacf_tf.attend.__main__ import define_flags, main
from tfrecords.build import command
from tfrecords.records.dataset import load_info
from tfrecords.sources.published import hollywood2, voc2012_action


@pytest.fixture(scope="module")
def clip(write_video, tmp_path_factory) -> Path:
    """Three seconds of noise, 32 x 40 pixels at 10 frames a second."""
    frames = np.random.default_rng(0).integers(0, 255, (30, 32, 40, 3), np.uint8)
    return write_video(tmp_path_factory.mktemp("videos") / "clip.mkv", frames, fps=10)


def lay_out_actionthread(root: Path, clip: Path) -> Path:
    shutil.copy(clip, root / "one.mkv")  # a table's links must not lead out of its folder
    rows = [
        f"one.mkv,{('Kiss', 'Hug')[place % 2]},{start},{start + 0.6:.1f},{split}\n"
        for split, starts in (("train", (0.2, 1.0, 1.2, 2.0)), ("test", (0.4, 1.1)))
        for place, start in enumerate(starts)
    ]
    (root / "actions.csv").write_text("video,label,start,end,split\n" + "".join(rows))
    return root


def lay_out_hollywood2(root: Path, clip: Path) -> Path:
    clips = {
        "actioncliptrain00001": ("HugPerson", "Kiss"),
        "actioncliptrain00002": ("DriveCar",),
        "actioncliptrain00003": (),
        "actioncliptest00001": ("Run",),
        "actioncliptest00002": ("Kiss",),
    }
    for folder in ("ClipSets", "AVIClips"):
        (root / folder).mkdir()
    for action in hollywood2.ACTIONS:
        for split in ("train", "test"):
            lines = [
                f"{name}  {1 if action in actions else -1}\n"
                for name, actions in clips.items()
                if f"clip{split}" in name
            ]
            (root / "ClipSets" / f"{action}_{split}.txt").write_text("".join(lines))
    for name in clips:
        shutil.copy(clip, root / "AVIClips" / f"{name}.avi")
    return root


def lay_out_hacs(root: Path, clip: Path) -> Path:
    lines = ["classname,youtube_id,subset,start,end,label\n"]
    for number, (name, subset) in enumerate(
        [("Archery", "training"), ("Surfing", "training")] * 2
        + [("Archery", "validation"), ("Surfing", "validation")]
    ):
        identity = f"aaaaaaaaa{number:02d}"
        lines.append(f"{name},{identity},{subset},0.0,1.0,1\n")
        lines.append(f"{name},{identity},{subset},1.5,2.5,-1\n")
        shutil.copy(clip, root / f"v_{identity}.mp4")
    table = root / "HACS_clips_v1.1.1.csv"
    table.write_text("".join(lines))
    return table


def lay_out_voc2012(root: Path, clip: Path) -> Path:
    lists = root / "ImageSets" / "Action"
    for folder in (root / "JPEGImages", root / "Annotations", lists):
        folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    people = {}
    for number, split in enumerate(("train", "train", "train", "val", "val")):
        name, action = f"2011_{number:06d}", ("walking", "reading")[number % 2]
        people[name] = (split, action)
        width = 48 + 8 * number  # no two photographs of one size
        image = rng.integers(0, 255, (40, width, 3), np.uint8)
        cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), image)
        tags = "".join(
            f"<{a}>{int(a == action)}</{a}>"
            for a in (*voc2012_action.ACTIONS, voc2012_action.OTHER)
        )
        (root / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><size><width>{width}</width><height>40</height></size><object>"
            f"<name>person</name><actions>{tags}</actions><bndbox><xmin>5</xmin><ymin>5</ymin>"
            "<xmax>24</xmax><ymax>36</ymax></bndbox></object></annotation>"
        )
    for action in voc2012_action.ACTIONS:
        for split in ("train", "val", "trainval", "test"):
            lines = [
                f"{name} 1 {1 if action == own else -1}\n"
                for name, (wanted, own) in people.items()
                if wanted == split or (split == "trainval" and wanted in ("train", "val"))
            ]
            (lists / f"{action}_{split}.txt").write_text("".join(lines))
    return root


# Recipe -> layout, source, flags of the build, and what is made small.
RUNS = {
    "actionthread": (
        lay_out_actionthread,
        {"source": "actionthread", "margin": 0.1, "flow": "dis"},
        {"data.frames": 4, "backbone_options.end_point": "Conv3d_1a_7x7"},
    ),
    "hollywood2": (
        lay_out_hollywood2,
        {"source": "hollywood2"},
        {"data.frames": 4, "backbone_options.end_point": "Conv3d_1a_7x7", "modality": "rgb"},
    ),
    "hacs30": (
        lay_out_hacs,
        {"source": "hacs"},
        # Of the second stage nothing but what it begins with.
        {"data.frames": 4, "backbone_options.end_point": "maxpool", "stages.1.learning_rate": 0.0},
    ),
    "voc2012": (
        lay_out_voc2012,
        {"source": "voc2012_action", "short_side": 32},
        {"data.map_crop": 4, "backbone_options.end_point": "features.pool0"},
    ),
    "stills": (
        lay_out_voc2012,
        {"source": "voc2012_action", "short_side": 40},
        {"backbone_options.width": 12, "hidden": 4},
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) for name in RUNS],
)
def test_a_recipe_from_its_data_set_s_layout_to_the_report(name, clip, tmp_path):
    lay_out, how, small = RUNS[name]
    source = tmp_path / "source"
    source.mkdir()
    data, workdir = tmp_path / "data", tmp_path / "run"
    values = command.define_flags(flags.FlagValues())
    how = {**how, "input": lay_out(source, clip), "output": data, "num_shards": 1}
    values(["build", *(f"--{flag}={value}" for flag, value in how.items())])
    command.main([], values)

    recipe = recipes.load_recipe(name)
    small = {"data.height": 32, "data.width": 32, "precision": "mixed_bfloat16", **small}
    for place in range(len(recipe.stages)):
        small.update({f"stages.{place}.epochs": 1, f"stages.{place}.batch_size": 2})
    for field, value in small.items():
        recipe = recipes.override(recipe, field, value)
    recipes.check(recipe)
    pipeline.run(recipe, data, workdir)

    content = json.loads((workdir / "metrics.json").read_text(), parse_constant=pytest.fail)
    beside = json.loads((workdir / "baselines/average/metrics.json").read_text())
    assert content["head"] == "aacf" and beside["head"] == "average"
    info = load_info(data)
    for split, entry in content["splits"].items():
        assert entry["clips"] == info.splits[split]["clips"] > 0
        assert 0 <= entry["combined"]["mean_ap"] <= 1
    for stage in recipe.stages:
        (history,) = json.loads((workdir / f"logs/{stage.name}/history.json").read_text())
        assert np.isfinite(history["loss"])
    assert (workdir / "export/aacf/1/saved_model.pb").is_file()
    assert (workdir / "report/index.html").stat().st_size > 10_000
    if name == "voc2012":  # the boxes are masks, whatever the size of a photograph
        assert content["splits"]["test"]["localization"]["clips_with_mask"] == 2
        check_served(workdir / "export/aacf/1")
    if name == "stills":
        check_photographs(workdir, source)
    if name == "hacs30":
        check_stages(workdir, recipe)


def check_served(version: Path) -> None:
    """Photographs go in whole: the map is as long as they are."""
    signatures = tf.saved_model.load(str(version)).signatures
    image = np.random.default_rng(0).integers(0, 255, (40, 80, 3), np.uint8)
    seen = signatures["serve_tensor"](frames=tf.constant(image[None, None]))
    assert seen["action_attention"].shape == (1, 1, 8, 16)  # 32 x 64 pixels, 4 a cell
    again = signatures["serving_default"](frames=tf.io.encode_png(image)[None, None])
    for name, value in seen.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-5, atol=1e-6)


def check_photographs(workdir: Path, source: Path) -> None:
    """Photographs have no time; the report shows them as the supplement does; one is looked at."""
    content = json.loads((workdir / "metrics.json").read_text())
    place = content["splits"]["test"]["localization"]
    assert {"action_pointing", "action_mass", "action_auc", "context_mass"} <= set(place)
    assert not any("time_share" in key or "frame_difference" in key for key in place)
    page = (workdir / "report/index.html").read_text(encoding="utf-8")
    assert "2 photographs" in page and "time share" not in page
    # Both classes' first photographs, one below the other; sample, boxes, conjugate and two maps.
    sheet = cv2.imread(str(workdir / "report/maps.png"))
    widths = [round((48 + 8 * number) / 40 * 192) for number in (3, 4)]
    assert sheet.shape == (2 * (2 * 34 + 192) + 14, 5 * max(widths) + 4 * 3, 3)

    values = define_flags(flags.FlagValues())
    image, output = source / "JPEGImages/2011_000003.jpg", workdir / "attention.png"
    given = {"model": workdir / "export/aacf", "image": image, "output": output}
    values(["attend", *(f"--{flag}={value}" for flag, value in given.items())])
    main([], values)
    assert cv2.imread(str(output)).shape == (28 + 240, 3 * round(72 * 240 / 40), 3)


def check_stages(workdir: Path, recipe: recipes.Recipe) -> None:
    """The second stage goes on with the head of the first; a frozen backbone is the same after."""
    held = []
    for stage in recipe.stages:
        path = tf.train.latest_checkpoint(str(workdir / "checkpoints" / stage.name))
        reader = tf.train.load_checkpoint(path)
        names = [name for name in reader.get_variable_to_shape_map() if "VARIABLE_VALUE" in name]
        names = [
            name for name in names if name.startswith(("backbone", "head")) and "OPT" not in name
        ]
        held.append({name: reader.get_tensor(name) for name in names})
    kernel = "head/classifier/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_array_equal(held[0][kernel], held[1][kernel])
    assert any("moving_variance" in name for name in held[0])
    for name in held[0]:
        if name.startswith("backbone"):
            for stage in held[1:]:
                np.testing.assert_array_equal(held[0][name], stage[name], err_msg=name)
