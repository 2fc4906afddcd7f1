"""Localisation: hand-computed cases, numpy and scikit-learn as oracles, metrics in `model.fit`."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score
from tensorflow import keras

from aacf_tf.evaluation import localization
from aacf_tf.evaluation.localization import AreaUnderCurve, Mass, Pointing, TimeShare
from keras_layers import ActionContextFactorization

KINDS = (Pointing, Mass, AreaUnderCurve, TimeShare)


@pytest.fixture(params=["eager", "graph"])
def call(request):
    """Calls a function as it is, or in a graph that knows no shape but the rank."""

    def in_graph(function, *tensors, **options):
        tensors = [tf.convert_to_tensor(value) for value in tensors]
        signature = [tf.TensorSpec([None] * value.shape.rank, value.dtype) for value in tensors]
        graph = tf.function(lambda *values: function(*values, **options), signature)
        return graph(*tensors).numpy()

    def eagerly(function, *tensors, **options):
        return function(*tensors, **options).numpy()

    return in_graph if request.param == "graph" else eagerly


def coverage_oracle(masks, grid, strides):
    result = np.zeros((len(masks), *grid))
    for place in np.ndindex(*grid):
        box = tuple(slice(i * s, (i + 1) * s) for i, s in zip(place, strides))
        result[(slice(None), *place)] = masks[(slice(None), *box)].mean((1, 2, 3))
    return result


@pytest.mark.parametrize(
    "size, grid, strides",
    [((4, 6, 8), (2, 3, 2), (2, 2, 4)), ((5, 7, 9), (3, 4, 3), (2, 2, 4))],
    ids=["whole", "last_cut"],
)
def test_cell_coverage_is_the_mean_of_each_box(call, size, grid, strides):
    masks = np.random.default_rng(0).random((2, *size), np.float32)
    coverage = call(localization.cell_coverage, masks, grid=grid, strides=strides)
    np.testing.assert_allclose(coverage, coverage_oracle(masks, grid, strides), atol=1e-6)


def test_cell_coverage_by_hand():
    mask = np.zeros((1, 4, 6, 6), np.uint8)
    mask[0, :2, :2, :2] = 1
    mask[0, 0, 2, 0] = 1
    coverage = localization.cell_coverage(mask, (2, 3, 3)).numpy()  # strides from the sizes
    assert coverage[0, 0, 0, 0] == 1.0
    assert coverage[0, 0, 1, 0] == 1 / 8
    assert coverage.sum() == 1 + 1 / 8


def test_a_box_beyond_the_input_is_empty():
    coverage = localization.cell_coverage(np.ones((1, 2, 2, 5), bool), (1, 1, 4), (2, 2, 2))
    np.testing.assert_array_equal(coverage[0, 0, 0], [1, 1, 1, 0])


def test_actor_cells_exceed_the_threshold_or_are_the_fullest(call):
    coverage = np.array([[[[0.25, 0.26]]], [[[0.1, 0.2]]], [[[0.25, 0.0]]]], np.float32)
    cells = call(localization.actor_cells, coverage, threshold=0.25)
    np.testing.assert_array_equal(cells[:, 0, 0], [[False, True], [False, True], [True, False]])


def test_measures_by_hand(call):
    weights = np.array([[[[0.5, 0.1], [0.1, 0.0]], [[0.05, 0.15], [0.05, 0.05]]]], np.float32)
    cells = np.zeros((1, 2, 2, 2), bool)
    cells[0, :, 0, 0] = True
    assert call(localization.pointing, weights, cells) == 1.0
    assert call(localization.mass, weights, cells) == pytest.approx(0.55)
    # 2 actor cells x 6 others: 0.5 beats all 6; 0.05 beats one, ties two, loses to three.
    assert call(localization.auc, weights, cells) == pytest.approx((6 + 1 + 2 * 0.5) / 12)
    # The first step's peak is on the actor and above 1/8; the second's is not on it.
    assert call(localization.time_share, weights, cells) == 0.5


def test_a_peak_off_the_actor_does_not_point():
    weights = np.array([[[[0.6, 0.4]]], [[[0.4, 0.6]]]], np.float32)
    cells = np.array([[[[False, True]]], [[[False, True]]]])
    np.testing.assert_array_equal(localization.pointing(weights, cells), [0, 1])


def test_of_a_uniform_map_mass_is_the_area_and_nothing_is_marked():
    weights = np.full((3, 2, 3, 4), 1 / 24, np.float32)
    cells = np.random.default_rng(0).random(weights.shape) < 0.3
    np.testing.assert_allclose(localization.mass(weights, cells), cells.mean((1, 2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(localization.auc(weights, cells), 0.5)
    np.testing.assert_array_equal(localization.time_share(weights, cells), 0)


def test_a_peak_on_the_actor_below_the_mean_weight_marks_no_step():
    weights = np.array([[[[0.9, 0.0]], [[0.06, 0.04]]]], np.float32)
    cells = np.array([[[[True, False]], [[True, False]]]])
    np.testing.assert_array_equal(localization.time_share(weights, cells), 0.5)


def test_steps_without_an_actor_do_not_count():
    weights = np.array([[[[0.4, 0.1]], [[0.3, 0.2]]]], np.float32)
    cells = np.array([[[[True, False]], [[False, False]]]])
    np.testing.assert_array_equal(localization.time_share(weights, cells), 1)
    np.testing.assert_array_equal(localization.time_share(weights, ~cells & False), np.nan)


@pytest.mark.parametrize("levels", [3, 10**6], ids=["ties", "no_ties"])
def test_auc_is_scikit_learns(call, levels):
    rng = np.random.default_rng(0)
    weights = rng.integers(0, levels, (20, 3, 6, 7)).astype(np.float32)
    cells = rng.random(weights.shape) < rng.uniform(0.05, 0.9, (20, 1, 1, 1))
    expected = [roc_auc_score(truth.ravel(), map_.ravel()) for truth, map_ in zip(cells, weights)]
    np.testing.assert_allclose(call(localization.auc, weights, cells), expected, atol=1e-6)


def test_where_all_is_the_actor_there_is_no_auc(call):
    weights = np.full((2, 1, 1, 2), 0.5, np.float32)
    cells = np.array([[[[True, True]]], [[[True, False]]]])
    np.testing.assert_array_equal(call(localization.auc, weights, cells), [np.nan, 0.5])


def test_normalize_map_keeps_the_positive_part(call):
    values = np.array([[[[1.0, -5.0], [3.0, 0.0]]], [[[-1.0, -1.0], [-1.0, -1.0]]]])
    weights = call(localization.normalize_map, values)
    np.testing.assert_allclose(weights[0, 0], [[0.25, 0], [0.75, 0]])
    np.testing.assert_allclose(weights[1], 0.25)


def test_off_centre_is_the_third_farthest_from_the_centre():
    coverage = np.zeros((6, 1, 5, 5))
    for n, (y, x) in enumerate([(2, 2), (0, 0), (2, 3), (2, 2), (4, 1), (3, 2)]):
        coverage[n, 0, y, x] = 1
    np.testing.assert_array_equal(np.flatnonzero(localization.off_centre(coverage)), [1, 4])


def test_boxes_become_masks(call):
    boxes = np.array(
        [
            [[0.25, 0.0, 0.75, 0.5], [0, 0, 0, 0]],
            [[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, 1.0, 1.0]],
            [[0, 0, 0, 0], [0, 0, 0, 0]],
        ],
        np.float32,
    )
    masks = call(localization.masks_from_boxes, boxes, size=(4, 4))
    assert masks.shape == (3, 1, 4, 4)
    np.testing.assert_array_equal(masks[0, 0], [[0] * 4, [1, 1, 0, 0], [1, 1, 0, 0], [0] * 4])
    np.testing.assert_array_equal(
        masks[1, 0], [[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]
    )
    assert not masks[2].any()


def test_the_border_of_a_box_covers_a_share_of_its_pixels():
    boxes = [[[[0.125, 0.0, 0.5, 0.625]], [[0.0, 0.0, 0.0, 0.0]]]]
    masks = localization.masks_from_boxes(tf.constant(boxes), (2, 2)).numpy()
    assert masks.shape == (1, 2, 2, 2)
    np.testing.assert_array_equal(masks[0, 0], [[0.75, 0.75 * 0.25], [0, 0]])
    assert not masks[0, 1].any()


@pytest.mark.parametrize("cells", [3, 7, 11])
def test_a_box_on_cell_borders_touches_no_other_cell(cells):
    # A third is no binary fraction: rounding must not reach into the next cell at threshold 0.
    for first in range(cells):
        box = [[[first / cells, 0, (first + 1) / cells, 1]]]
        masks = localization.masks_from_boxes(tf.constant(box, tf.float32), (16 * cells, 16))
        coverage = localization.cell_coverage(masks, (1, cells, 1))
        touched = localization.actor_cells(coverage, 0.0).numpy()
        np.testing.assert_array_equal(np.flatnonzero(touched), [first])


def test_without_a_row_there_is_no_box():
    masks = localization.masks_from_boxes(tf.zeros([2, 0, 4]), (3, 3))
    np.testing.assert_array_equal(masks, np.zeros((2, 1, 3, 3)))


@pytest.fixture
def maps_and_masks():
    """Maps [6, 2, 3, 4] summing to 1, masks [6, 4, 12, 16] of one blob a clip."""
    rng = np.random.default_rng(1)
    maps = rng.dirichlet(np.ones(24), 6).reshape(6, 2, 3, 4).astype(np.float32)
    masks = np.zeros((6, 4, 12, 16), np.uint8)
    for mask, y, x in zip(masks, rng.integers(0, 8, 6), rng.integers(0, 10, 6)):
        mask[:, y : y + 5, x : x + 6] = 1
    return maps, masks


@pytest.mark.parametrize("kind", KINDS)
def test_a_metric_is_the_mean_over_batches_of_its_measure(kind, maps_and_masks):
    maps, masks = maps_and_masks
    metric = kind(strides=(2, 4, 4), threshold=0.25)
    known = np.array([True, True, False, True, False, True])
    for part in (slice(0, 4), slice(4, 6)):
        metric.update_state(masks[part], maps[part], sample_weight=known[part])
    cells = coverage_oracle(masks, (2, 3, 4), (2, 4, 4)) > 0.25
    expected = kind.measure(maps, cells).numpy()[known].mean()
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-6)


def test_what_cannot_be_judged_does_not_count():
    maps = np.array([[[[0.7, 0.3]]]] * 3, np.float32)
    masks = np.zeros((3, 1, 1, 2), np.uint8)
    masks[0], masks[1] = 1, [[[0, 1]]]  # everywhere, on the right, nowhere
    pointing, area = Pointing(), AreaUnderCurve()
    for metric in (pointing, area):
        metric.update_state(masks, maps)
    assert pointing.result() == 0.5  # two clips have an actor
    assert area.result() == 0.0  # of which one has a place without it


def test_a_metric_survives_its_config():
    metric = Mass(strides=[1, 4, 4], threshold=0.5, frame_size=[32, 48], name="action_mass")
    config = keras.metrics.serialize(metric)
    again = keras.metrics.deserialize(config)
    assert isinstance(again, Mass)
    assert again.get_config() == metric.get_config()
    assert again.name == "action_mass" and again.frame_size == (32, 48)


def functional_model():
    features = keras.Input([2, 3, 4, 5])
    outputs = ActionContextFactorization(hidden=4, name="factorization")(features)
    return keras.Model(
        features, named(outputs, keras.layers.Dense(3, dtype="float32", name="scores"))
    )


def named(outputs, classifier):
    """Keras logs metrics under the name of an output's layer: each map gets one of its own."""
    maps = {
        name: keras.layers.Activation("linear", dtype="float32", name=name)(outputs[name])
        for name in ("action_attention", "context_attention")
    }
    return {"scores": classifier(outputs["action"]), **maps}


@pytest.mark.parametrize(
    "policy", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "targets",
    [
        "masks",
        *(pytest.param(f"boxes_of_{x}", marks=pytest.mark.slow) for x in ("video", "image")),
    ],
)
def test_metrics_in_fit(policy, targets):
    """Masks and boxes, weighted by `has_mask`, give the same as a calculation by hand."""
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = functional_model()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    rng = np.random.default_rng(0)
    features = rng.standard_normal((8, 2, 3, 4, 5)).astype(np.float32)
    for variable in model.trainable_variables:  # maps that start uniform have no peak
        variable.assign(tf.random.stateless_normal(variable.shape, [0, 1]))
    corners = rng.uniform(0, 0.5, (8, 4, 1, 2))
    boxes = np.concatenate([corners, corners + 0.4], axis=-1).astype(np.float32)
    frame_size = (12, 16)
    strides = (2, 4, 4)
    if targets == "boxes_of_image":  # one time step of the mask: every step of the map is its
        boxes, strides = boxes[:, 0], (1, 4, 4)
        model = image_model(model)
        features = features[:, :1]
    truth, size = boxes, frame_size
    masks = localization.masks_from_boxes(boxes, frame_size).numpy()
    if targets == "masks":
        truth = masks = (masks > 0.5).astype(np.uint8)
        size = None
    known = np.arange(8) % 3 > 0
    measured = [kind(strides, 0.25, size) for kind in KINDS]
    model.compile(
        optimizer=keras.optimizers.SGD(0.0),  # maps stay, to be judged again below
        loss={"scores": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        weighted_metrics={"action_attention": measured},
        metrics={"context_attention": [Mass(strides, 0.25, size)]},
    )
    y = {"scores": np.arange(8) % 3, "action_attention": truth, "context_attention": truth}
    data = tf.data.Dataset.from_tensor_slices((features, y, {"action_attention": known})).batch(4)
    history = model.fit(data, validation_data=data, epochs=1, verbose=0).history
    outputs = model.predict(features, verbose=0)
    coverage = localization.cell_coverage(masks, outputs["action_attention"].shape[1:], strides)
    cells = localization.actor_cells(coverage, 0.25)
    for metric in measured:
        expected = metric.measure(outputs["action_attention"], cells).numpy()[known].mean()
        name = f"action_attention_{metric.measure.__name__}"
        for logged in (name, f"val_{name}"):
            np.testing.assert_allclose(history[logged], expected, atol=1e-4)
    expected = localization.mass(outputs["context_attention"], cells).numpy().mean()
    np.testing.assert_allclose(history["context_attention_mass"], expected, atol=1e-4)


def image_model(video_model):
    """Runs the same layers on a single time step."""
    features = keras.Input([1, 3, 4, 5])
    outputs = video_model.get_layer("factorization")(features)
    return keras.Model(features, named(outputs, video_model.get_layer("scores")))


def test_metrics_in_the_plain_metrics_argument():
    """The metrics work as `metrics={"action_attention": [...]}`, without weights."""
    features = keras.Input([2, 3, 4, 5])
    model = keras.Model(features, ActionContextFactorization(hidden=4)(features))
    model.compile(optimizer="sgd", metrics={"action_attention": [Pointing(), Mass()]})
    masks = np.zeros((4, 4, 12, 16), bool)
    masks[:, :, :4, :4] = True
    logs = model.evaluate(
        np.ones((4, 2, 3, 4, 5), np.float32),
        {"action_attention": masks},
        verbose=0,
        return_dict=True,
    )
    # Constant features: a uniform map, its first cell the peak, 1 of 12 places the actor's.
    named_for_the_layer = {name.rpartition("_")[2]: value for name, value in logs.items()}
    assert named_for_the_layer["pointing"] == 1.0
    assert named_for_the_layer["mass"] == pytest.approx(1 / 12)


def test_metrics_under_a_distribution_strategy(maps_and_masks):
    maps, masks = maps_and_masks
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        metric = Mass()
    data = strategy.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices((masks, maps)).batch(3)
    )

    @tf.function
    def update(batch):
        strategy.run(lambda *pair: [metric.update_state(*pair)][:0], batch)

    for batch in data:
        update(batch)
    alone = Mass()
    alone.update_state(masks, maps)
    np.testing.assert_allclose(metric.result(), alone.result(), rtol=1e-6)
