"""The report: one page, complete in itself, that shows what the run has measured."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from aacf_tf import build_model
from aacf_tf.evaluation.evaluate import evaluate
from aacf_tf.recipes import load_recipe
from aacf_tf.report import page
from aacf_tf.report.figures import SHEET
from aacf_tf.runs.run import Run
from tfrecords.media import pictures
from tfrecords.records.dataset import DatasetInfo
from tfrecords.utils.errors import UsageError, UserError

LABELS = ["down", "right"]


VOID = ("meta", "img", "br", "path", "use", "rect", "input")


class Page(HTMLParser):
    """Tags that are open, what the page would fetch, its texts to hear, and the films in it."""

    def __init__(self, text):
        super().__init__()
        self.open, self.fetched, self.named, self.films = [], [], [], {}
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attributes)
        self.tags.append((tag, values))
        for name in ("src", "href", "xlink:href"):
            if not values.get(name, "#").startswith("#"):
                self.fetched.append(values[name])
        if tag == "canvas":
            self.named.append(values["aria-label"])

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"] and data.startswith("{"):
            self.films = json.loads(data)


def write(run, squares_data):
    workdir, recipe, model = run
    path = page.write_report(Run.open(recipe, squares_data, workdir), model)
    return path, path.read_text(encoding="utf-8")


def test_the_page_is_whole_and_fetches_nothing(run, squares_data):
    path, text = write(run, squares_data)
    assert path == run[0] / "report" / "index.html"
    page = Page(text)
    assert not page.open and not page.fetched
    assert all(media.startswith("data:image/jpeg;base64,") for media in page.films["media"])
    assert not re.search(r"url\((?!#)|@import|<script src|<link", text)
    policies = [values for tag, values in page.tags if values.get("http-equiv")]
    assert policies[0]["content"].startswith("default-src 'none'; img-src data:")


def test_the_page_can_be_heard(run, squares_data):
    page = Page(write(run, squares_data)[1])
    assert len(set(page.named)) == len(page.named) == 16  # eight clips, eight conjugates
    assert sum(tag == "main" for tag, _ in page.tags) == 1
    assert all("scope" in values for tag, values in page.tags if tag == "th")
    regions = [v["aria-label"] for tag, v in page.tags if v.get("role") == "region"]
    assert regions and len(set(regions)) == len(regions)


def test_the_page_shows_what_was_measured(run, squares_data):
    _, text = write(run, squares_data)
    metrics = json.loads((run[0] / "metrics.json").read_text())
    for split, entry in metrics["splits"].items():
        assert split in text
        for value in (
            entry["action"]["top1"],
            entry["combined"]["mean_ap"],
            entry["localization"]["action_mass"],
            entry["localization"]["context_auc"],
            entry["localization"]["off_centre_third"]["action_mass"],
            entry["context"]["per_class_ap"]["down"],
        ):
            assert f"{value:.3f}" in text
        assert text.count("action map, off-centre third") == len(metrics["splits"])
    assert "stage main" in text and "<svg" in text and "average pooling" not in text
    # A sentence says it: the served score, the one with the scene, the scene alone.
    entry = metrics["splits"]["test"]
    assert f"{100 * entry['action']['top1']:.0f} %</b>" in text
    assert f"with the scene counted in <b>{100 * entry['combined']['top1']:.0f} %" in text
    alone = f"{100 * entry['context']['top1']:.0f} %"
    assert f"the scene alone would have been right on <b>{alone}" in text


def test_average_pooling_stands_beside_where_it_was_trained(run, squares_data):
    beside = run[0] / "baselines" / "average"
    beside.mkdir(parents=True)
    scores = {"top1": 0.321, "mean_ap": 0.432, "per_class_ap": {"down": 0.543, "right": None}}
    entry = {"clips": 8, "combined": scores}
    content = {"recipe": "demo", "head": "average", "labels": LABELS, "splits": {"test": entry}}
    (beside / "metrics.json").write_text(json.dumps(content))
    _, text = write(run, squares_data)
    assert all(digits in text for digits in ("average pooling", "0.321", "0.432", "0.543"))


def test_every_clip_and_its_conjugate_are_films(run, squares_data):
    content = Page(write(run, squares_data)[1]).films
    assert [len(films) for films in content["films"]] == [2] * 8  # all that the test split has
    for clip, conjugate in content["films"]:
        data = base64.b64decode(content["media"][clip["media"]].split(",")[1])
        frames = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert frames.shape == (6 * 32, 24, 3) and clip["block"] == 32  # whole JPEG blocks
        assert clip["shown"] == [*range(6)] and clip["rate"] == 6
        assert clip["seen"] == [0, 0, 1, 1] and len(clip["outlines"]) == 6
        assert not conjugate["outlines"]
        assert len(clip["maps"]) == 2
        cells = np.frombuffer(base64.b64decode(clip["maps"][0]), np.uint8)
        assert len(cells) == np.prod(clip["grid"]) and cells.max() == 255
    # The moving square of the first frame: 5 of 24 pixels, from (4, 2) on.
    clip = next(c for c, _ in content["films"] if np.ptp(c["outlines"][0][0][::2]) > 0)
    points = np.reshape(clip["outlines"][0][0], (-1, 2)) * 24
    assert sorted(points.min(0).round()) == [2, 4] and sorted(points.max(0).round()) == [7, 9]


def test_a_conjugate_is_shown_by_its_clip_s_scale(run, squares_data):
    """The action of a clip is not in its conjugate, so its map may be dark all over."""
    from aacf_tf.report import clips

    _, recipe, model = run
    current = Run.open(recipe, squares_data, run[0])
    (found,) = clips.load(current, "test", {"test-1"}).values()
    (clip, conjugate), _ = clips.draw(found, model, recipe.data)
    raw = [
        model({"clip": pixels[None]}, training=False)["action_logits"].numpy()[0]
        for pixels in (found.inputs["clip"], found.conjugate["clip"])
    ]
    middle, top = np.median(raw[0]), raw[0].max()
    for film, logits in zip((clip, conjugate), raw):
        wanted = np.clip((logits - middle) / (top - middle), 0, 1)
        np.testing.assert_allclose(film.maps[0], wanted, atol=1e-4)


def test_the_sheet_names_its_classes(run, squares_data):
    write(run, squares_data)
    sheet = cv2.imread(str(run[0] / "report" / SHEET))[..., ::-1]
    strip = 4 * 128 + 3 * 3  # four frames of a clip
    assert sheet.shape == (34 + 3 * 128 + 2 * 3, 2 * strip + 14, 3)
    bars = sheet[:34, :strip], sheet[:34, -strip:]
    for bar, label in zip(bars, LABELS):
        table = (run[0] / "predictions.csv").read_text().splitlines()
        rows = [line.split(",") for line in table if line.startswith("test,")]
        predicted = {row[3] for row in rows if row[2] == label}
        title = label if label in predicted else f"{label} (taken for {predicted.pop()})"
        wanted = pictures.text_bar(strip, 34, [title])
        assert np.abs(bar.astype(int) - wanted).max() <= 5
    assert not list((run[0] / "report").glob("*.tmp"))


def test_the_page_says_whose_clips_it_shows(run, squares_data):
    workdir = run[0]
    table = (workdir / "predictions.csv").read_text().splitlines(keepends=True)
    (workdir / "predictions.csv").write_text(
        "".join(line for line in table if not line.startswith("test,"))
    )
    _, text = write(run, squares_data)
    assert "Clips of the split <b>test_more</b>." in text and "test_more-0" in text


@pytest.mark.parametrize(
    "head, named, shown",
    [
        pytest.param(
            *("linear_factors", "linear factors action", "Class activation map in <b"),
            marks=pytest.mark.slow,
        ),
        ("attention", "attention combined", "Attention map in <b"),
    ],
)
def test_a_head_shows_the_one_map_it_has(squares_data, tiny_recipe, tmp_path, head, named, shown):
    recipe = dataclasses.replace(tiny_recipe, head=head)
    model = build_model(recipe, len(LABELS))
    evaluate(Run.open(recipe, squares_data, tmp_path), model, head, tmp_path)
    _, text = write((tmp_path, recipe, model), squares_data)
    assert named in text and shown in text and "context map" not in text


def test_names_cannot_break_the_page(run, squares_data):
    workdir = run[0]
    for name in ("metrics.json", "predictions.csv"):
        text = (workdir / name).read_text().replace("test_more", "<b>x")
        (workdir / name).write_text(text.replace('"aacf"', '"<i>h"'))
    _, text = write(run, squares_data)
    assert "&lt;i&gt;h action" in text and "<i>h" not in text
    assert "&lt;b&gt;x" in text and "<b>x" not in text


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ("id,labels", "id,names", "the column 'labels'"),
        ("action_right", "action_left", "the column 'action_right'"),
        (",down,", ",up,", "'up'"),
        ("0.", "0,0.", "damaged"),
        ("0.", "1e999", "finite scores"),
        ("\n", "\nx", "damaged"),
    ],
)
def test_damaged_predictions_are_one_sentence(run, squares_data, old, new, complaint):
    path = run[0] / "predictions.csv"
    path.write_text(path.read_text().replace(old, new, 1 if old == "id,labels" else -1))
    with pytest.raises(UserError, match=re.escape(complaint)) as found:
        write(run, squares_data)
    assert str(path) in str(found.value) and "line " in str(found.value)


def test_several_runs_stand_side_by_side(make_run, tmp_path):
    runs = [(name, *make_run(tmp_path / name)) for name in ("one", "<two>")]
    table = tmp_path / "<two>" / "predictions.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    for row in rows[1:]:
        row[3] = row[2]  # the second one is always right
    table.write_text("".join(",".join(row) + "\n" for row in rows))
    path = tmp_path / "one" / "report" / "comparison.html"
    page.write_comparison(runs, path)
    text = path.read_text(encoding="utf-8")
    found = Page(text)
    assert not found.open and "<two>" not in text and "one | &lt;two&gt;" in text
    assert len(found.named) == 32 and len(set(found.named)) == 32
    assert len(found.films["media"]) == 16  # both see the same frames
    assert [len(films) for films in found.films["films"]] == [4] * 8
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    more = 100 * (1 - metrics["splits"]["test"]["action"]["top1"])
    assert f"Against one, on the same 8 clips: <b>{more:+.1f} points" in text
    assert "right in some runs only" in text


def test_a_run_on_other_data_is_judged_but_not_shown(make_run, tiny_recipe, tmp_path):
    from tfrecords import ClipPair, write_dataset

    clip = np.zeros((6, 24, 24, 3), np.uint8)
    pairs = [ClipPair(str(n), clip, None, (label,)) for n, label in enumerate(LABELS)]
    write_dataset(tmp_path / "data", {"test": pairs}, labels=LABELS, num_shards=1)
    one, model = make_run(tmp_path / "one")
    make_run(tmp_path / "two")
    two = Run.open(tiny_recipe, tmp_path / "data", tmp_path / "two")
    page.write_comparison([("one", one, model), ("two", two, model)], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [len(films) for films in Page(text).films["films"]] == [2] * 8
    assert "two was judged on other data: its clips are not shown." in text


def test_a_run_that_was_not_evaluated_is_refused(tmp_path, tiny_recipe, squares_data):
    with pytest.raises(UsageError, match="evaluate"):
        page.write_report(Run.open(tiny_recipe, squares_data, tmp_path), model=None)


def test_the_facts_count_conjugates_where_each_clip_has_its_own():
    recipe = load_recipe("demo")
    splits = {"train": {"pairs_given": 2, "pairs_frozen_frame": 3}, "test": {"pairs_given": 1}}
    info = DatasetInfo("csv", 25.0, [24, 24], ["a", "b"], splits=splits)
    assert "conjugates: 3 given, 3 frozen_frame" in page._facts(recipe, "aacf", info)
    assert "conjugates" not in " ".join(
        page._facts(recipe, "aacf", dataclasses.replace(info, splits={}))
    )
