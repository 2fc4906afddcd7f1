"""Chooses the clips of a report, of one run or of several side by side, and draws them."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from aacf_tf.evaluation.classification import to_probabilities
from aacf_tf.models.action_model import ActionModel
from aacf_tf.report import clips, stills
from aacf_tf.report.films import Film, encode
from aacf_tf.report.outcomes import Outcomes
from aacf_tf.runs.run import Run
from aacf_tf.visualization import panels
from tfrecords.media import pictures
from tfrecords.reading.corruption import translate_errors
from tfrecords.records import codec
from tfrecords.records.dataset import digest, shard_paths
from tfrecords.utils.remote.shards import read_records

CLIPS = 24
PAIRS = 6  # of another split, if the clips have no conjugates
SHEET = "maps.png"  # beside the page: the first clip of each class, to show elsewhere
_CLASSES = 6
_BYTES = 12 << 20  # of all frames in the page
_RATE = 12.0  # frames a second, if neither the recipe nor the data say


class Shown(NamedTuple):
    """A run whose clips are shown: its name in the page, and the outcomes of its splits."""

    name: str
    run: Run
    model: ActionModel
    outcomes: Mapping[str, Outcomes]

    @property
    def score(self) -> str:
        """The score that the run is judged by: the recipe's, or `combined` if the head lacks it."""
        scores = next(iter(self.outcomes.values())).scores if self.outcomes else {}
        return self.run.recipe.score if self.run.recipe.score in scores else "combined"


class Chosen(NamedTuple):
    """A row of predictions.csv that is shown."""

    id: str
    labels: str
    predicted: str
    others: tuple[str, ...] = ()  # what the other runs predicted

    @property
    def right(self) -> bool:
        """Whether the predicted class is one of the true ones."""
        return self.predicted in self.labels.split("|")

    @property
    def outcome(self) -> tuple[bool, ...]:
        """Whether each run is right."""
        true = self.labels.split("|")
        return tuple(predicted in true for predicted in (self.predicted, *self.others))

    @property
    def title(self) -> str:
        """The true classes, and the predicted one if it is wrong."""
        names = self.labels.replace("|", ", ")
        return names if self.right else f"{names} (taken for {self.predicted})"


class Answer(NamedTuple):
    """The first guess by one score, its probability, and that of the true class."""

    label: str
    probability: float
    right: bool
    true: float


class View(NamedTuple):
    """A film of a figure: what a run makes of a clip or of its conjugate."""

    run: str
    kind: str  # clip or conjugate
    answers: dict[str, Answer]  # by score, that of the model first
    film: dict[str, Any]  # for JSON


class Figure(NamedTuple):
    """A clip in the page: its record, its true classes, and the clips, then the conjugates."""

    split: str
    id: str
    labels: list[str]
    views: list[View]

    @property
    def outcome(self) -> list[bool]:
        """Whether each run is right."""
        seen = [view for view in self.views if view.kind == "clip"]
        return [next(iter(view.answers.values())).right for view in seen]

    @property
    def scene(self) -> float | None:
        """Probability of the true class by the context alone, of the first run that has one."""
        found = [view.answers["context"].true for view in self.views if "context" in view.answers]
        return found[0] if found else None


def choose(rows: Sequence[Chosen], labels: Sequence[str], count: int = CLIPS) -> list[Chosen]:
    """Chooses the clips that are shown, by a rule.

    Classes that occur are taken in order, six of them evenly spread if there are more. Of each
    class the first correctly classified clip of the split comes in, then the first misclassified
    one, and so on in turn until the class has its share; if one kind runs out, the others go on.
    Of several runs, the kinds are which of them are right.
    """
    occurring = {row.labels.split("|")[0] for row in rows}
    labels = [label for label in labels if label in occurring]
    if not labels:
        return []
    wanted = min(len(labels), _CLASSES)
    share = -(-count // wanted)
    chosen = []
    for index in range(wanted):
        label = labels[index * len(labels) // wanted]
        kinds: dict[tuple[bool, ...], list[Chosen]] = {}
        for row in rows:
            if label == row.labels.split("|")[0]:
                kinds.setdefault(row.outcome, []).append(row)
        queues = [kinds[outcome] for outcome in sorted(kinds, reverse=True)]
        turns = [row for turn in _transpose(queues) for row in turn]
        chosen += turns[:share]
    return chosen[:count]


def _transpose(queues: Sequence[Sequence[Chosen]]) -> list[list[Chosen]]:
    longest = max(map(len, queues))
    return [[queue[turn] for queue in queues if turn < len(queue)] for turn in range(longest)]


def choose_split(splits: Sequence[str]) -> str:
    """Chooses the split whose clips are shown: where scenes say nothing, if possible."""
    return next((name for name in ("test_uniform", "test") if name in splits), splits[0])


def draw_figures(runs: Sequence[Shown], sheet: bool) -> tuple[str, list[Figure], list[str]]:
    """Draws the chosen clips of evaluated runs.

    Runs on other data than the first one's are left out.

    Args:
        runs: The runs.
        sheet: Whether to write the sheet of the first one.

    Returns:
        The split that they are from, the figures, and their frames as data URIs.
    """
    first = runs[0]
    data = digest(first.run.data)
    runs = [shown for shown in runs if digest(shown.run.data) == data]
    splits = [
        split
        for split in first.outcomes
        if split in first.run.info.splits and all(split in shown.outcomes for shown in runs)
    ]
    if not splits:
        return "", [], []
    split = choose_split(splits)
    labels = first.run.info.labels
    chosen = choose(_rows([shown.outcomes[split] for shown in runs], labels), labels)
    wanted = {split: {row.id: row.labels.split("|") for row in chosen}}
    with_pairs = (name for name in (split, "validation", "train") if _pairs(first.run, name))
    extra = next(with_pairs, split)
    if extra != split:
        wanted[extra] = _first_pairs(first.run, extra)
    figures, media, strips = _draw(runs, wanted)
    if sheet and strips:
        firsts = {row.labels.split("|")[0]: row for row in reversed(chosen) if row.id in strips}
        titled = [
            pictures.with_titles(strips[row.id], [row.title])
            for row in chosen
            if firsts.get(row.labels.split("|")[0]) is row
        ]
        path = first.run.workdir / "report" / SHEET
        panels.write_sheet(path, titled, _kind(first.run).SHEET_COLUMNS)
    return split, figures, media


def _rows(outcomes: Sequence[Outcomes], labels: Sequence[str]) -> list[Chosen]:
    """Lists the labelled clips that all runs have judged, in the order of the first one."""
    places = [{name: index for index, name in enumerate(of.ids)} for of in outcomes]
    rows = []
    for name, index in places[0].items():
        true = [labels[int(k)] for k in np.flatnonzero(outcomes[0].targets[index])]
        if true and all(name in place for place in places):
            predicted, *others = (
                labels[int(of.predicted[place[name]])] for of, place in zip(outcomes, places)
            )
            rows.append(Chosen(name, "|".join(true), predicted, tuple(others)))
    return rows


def _kind(run: Run) -> Any:
    """Returns the module that loads and draws the clips of a run."""
    return stills if run.recipe.data.frames == 1 else clips


def _pairs(run: Run, split: str) -> int:
    return run.info.splits.get(split, {}).get("pairs", 0)


def _first_pairs(run: Run, split: str) -> dict[str, list[str]]:
    """Finds the first pair of each class, of at most `PAIRS` classes: id -> classes."""
    paths = [str(path) for path in shard_paths(run.data, run.info, split)]
    parsed = read_records(paths).map(lambda record: codec.parse(record, masks=False))
    found: dict[int, tuple[str, list[str]]] = {}
    with translate_errors(run.data):
        for record in parsed:
            classes = record["labels"].numpy()
            if len(classes) and len(record["conjugate"]):
                entry = record["id"].numpy().decode(), [run.info.labels[k] for k in classes]
                found.setdefault(int(classes[0]), entry)
            if len(found) == min(PAIRS, len(run.info.labels)):
                break
    return dict(found[label] for label in sorted(found))


def _draw(
    runs: Sequence[Shown], wanted: Mapping[str, Mapping[str, list[str]]]
) -> tuple[list[Figure], list[str], dict[str, np.ndarray]]:
    """Draws the wanted clips, split -> id -> true classes, of every run.

    Returns:
        The figures, their frames as data URIs, and the first run's strips for the sheet, by id.
    """
    sizes = {(repr(shown.run.recipe.data), shown.run.recipe.modality) for shown in runs}
    budget = _BYTES // max(1, 2 * len(sizes) * sum(map(len, wanted.values())))
    media: dict[str, int] = {}  # runs that see the same frames share them
    strips: dict[str, np.ndarray] = {}
    views: dict[tuple[str, str], list[View]] = {}
    for shown in runs:
        kind, data = _kind(shown.run), shown.run.recipe.data
        rate = data.fps or shown.run.info.fps or _RATE
        for split, labels in wanted.items():
            for name, item in kind.load(shown.run, split, set(labels)).items():
                films, strip = kind.draw(item, shown.model, data)
                strips.setdefault(name, strip)
                for title, film in zip(("clip", "conjugate"), films):
                    uri, content = encode(film, budget)
                    content["media"] = media.setdefault(uri, len(media))
                    content["rate"] = rate * len(content["shown"]) / len(film.frames)
                    scores = _computed(shown.run, film)
                    if title == "clip":
                        scores = _evaluated(shown.outcomes.get(split), name) or scores
                    answers = _answers(shown, scores, labels[name])
                    if title == "conjugate":  # holds no action to be named
                        answers = {key: value for key, value in answers.items() if key == "context"}
                    view = View(shown.name, title, answers, content)
                    views.setdefault((split, name), []).append(view)
    figures = []
    for split, labels in wanted.items():
        for name, true in labels.items():
            if (split, name) in views:
                seen = sorted(views[split, name], key=lambda view: view.kind)
                figures.append(Figure(split, name, true, seen))
    return figures, [*media], strips


def _evaluated(outcomes: Outcomes | None, name: str) -> dict[str, np.ndarray] | None:
    """Returns the class probabilities of a clip that has been evaluated, by score; else None."""
    if outcomes is None or name not in outcomes.ids:
        return None
    index = outcomes.ids.index(name)
    return {score: values[index] for score, values in outcomes.scores.items()}


def _computed(run: Run, film: Film) -> dict[str, np.ndarray]:
    """Returns the class probabilities of a film, by score."""
    classes, multi_label = len(run.info.labels), run.info.multi_label
    return {
        score: to_probabilities(values[None], classes, multi_label)[0]
        for score, values in film.scores.items()
    }


def _answers(
    shown: Shown, scores: Mapping[str, np.ndarray], true: Sequence[str]
) -> dict[str, Answer]:
    """Returns the answers by each score, that of the model first."""
    labels = shown.run.info.labels
    known = [labels.index(name) for name in true]
    answers = {}
    for score in sorted(scores, key=lambda score: score != shown.score):
        best = int(scores[score].argmax())
        answers[score] = Answer(
            labels[best],
            float(scores[score][best]),
            best in known,
            float(scores[score][known].max()),
        )
    return answers
