"""Computes the loss terms of every head, one float32 value per clip each.

The method's primed symbols (of the conjugate) are `conjugate` here; za and zc are the class logits
`action_scores` and `context_scores`, la the attention logits `action_logits`. The forms are our
reconstruction: the paper's supplement names the idea, not the equations.
"""

from __future__ import annotations

from typing import Any, Mapping

import tensorflow as tf

from aacf_tf.recipes.options import APART_TERMS, REMEDY_TERMS, SWAP_TERMS
from tfrecords.reading.remedies.batch import ERASED, MASKED

Outputs = Mapping[str, tf.Tensor]


def classification(
    scores: tf.Tensor, targets: tf.Tensor, multi_label: bool, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Returns the cross entropy of logits `[B, K]` per clip, `[B]`.

    Args:
        scores: Logits, cast to float32.
        targets: Class ids, int `[B]`; with `multi_label` 0 and 1, float `[B, K]`: sigmoid cross
            entropy, summed over the classes.
        multi_label: Whether clips may have several labels.
        label_smoothing: Share of the target spread over all classes (single label only).
    """
    scores = tf.cast(scores, tf.float32)
    if multi_label:
        losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(targets, tf.float32), scores)
        return tf.reduce_sum(losses, axis=-1)
    classes = scores.shape[-1]
    wanted = tf.one_hot(targets, classes) * (1 - label_smoothing) + label_smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(wanted, scores)


def uniform_target(scores: tf.Tensor, multi_label: bool) -> tf.Tensor:
    """Returns the cross entropy of logits `[B, K]` with a uniform target per clip, `[B]`.

    The target is 1 / K for each class, in multi-label data 0.5.
    """
    scores = tf.cast(scores, tf.float32)
    if multi_label:
        return classification(scores, tf.fill(tf.shape(scores), 0.5), True)
    return -tf.reduce_mean(tf.nn.log_softmax(scores), axis=-1)


def baseline_terms(
    clip: Outputs,
    conjugate: Outputs | None,
    targets: tf.Tensor,
    *,
    has_conjugate: tf.Tensor | None,
    has_action: tf.Tensor,
    label_smoothing: float = 0.0,
) -> dict[str, tf.Tensor]:
    """Returns the terms of heads without factors; arguments as for `factorization_terms`.

    Returns:
        float32 `[B]` by name: `classification`; `background`: the conjugate's class is the last one
        (in multi-label data: none); `uniform`: its target is the uniform distribution.
    """
    multi_label = targets.dtype.is_floating
    terms = {
        "classification": classification(
            clip["combined_scores"], targets, multi_label, label_smoothing
        )
    }
    if conjugate is None:
        nothing = tf.zeros_like(terms["classification"])
        return {**terms, "background": nothing, "uniform": nothing}
    paired = tf.cast(has_conjugate & has_action, tf.float32)
    scores = conjugate["combined_scores"]
    if multi_label:
        empty = tf.zeros_like(scores)
    else:
        empty = tf.fill(tf.shape(targets), scores.shape[-1] - 1)
    background = classification(scores, empty, multi_label, label_smoothing)
    terms["background"] = paired * background
    terms["uniform"] = paired * uniform_target(scores, multi_label)
    return terms


def factorization_terms(
    clip: Outputs,
    conjugate: Outputs | None,
    targets: tf.Tensor,
    *,
    has_conjugate: tf.Tensor | None,
    has_action: tf.Tensor,
    swapped: tf.Tensor | None = None,
    context_targets: tf.Tensor | None = None,
    context_learns: bool = True,
    time_spread_floor: float = 0.8,
    label_smoothing: float = 0.0,
) -> dict[str, tf.Tensor]:
    """Returns the terms of the factorization's loss.

    Args:
        clip: Outputs of the head for the clips: `action_scores`, `context_scores` `[B, K]`,
            `action`, `context` `[B, D]`, and of a head with attention `action_logits`,
            `action_attention` `[B, T, H, W]`.
        conjugate: Outputs for the conjugates; None if the batch has none.
        targets: As for `classification`; floats are those of multi-label data.
        has_conjugate: Whether a clip has a conjugate, bool `[B]`; without one, every term with a
            prime is 0.
        has_action: Whether a clip has an action, bool `[B]`; one with none asks for absence, and
            its pair terms are 0.
        swapped: Whether the actor was pasted into the conjugate of another clip, which is the
            conjugate here, bool `[B]`; None: nowhere.
        context_targets: Class of the context, like `targets`; None: the same.
        label_smoothing: See `classification`.
        context_learns: Whether the data set has any pair; otherwise zc, which gets no gradient, is
            left out of `combined`.
        time_spread_floor: Least entropy over time, as a share of log T.

    Returns:
        float32 `[B]` by name: `recipes.FACTOR_TERMS`, without `presence` and `time_spread` for a
        head without attention, and SWAP_TERMS.
    """
    smoothing, multi_label = label_smoothing, targets.dtype.is_floating
    za, zc = clip["action_scores"], clip["context_scores"]
    explained = tf.stop_gradient(zc) if context_learns else tf.zeros_like(zc)
    if swapped is not None:
        # The scene is of another class: both experts learn to leave the decision to the action.
        explained = tf.where(swapped[:, None], zc, explained)
    # The action expert learns what the context cannot explain.
    terms = {"combined": classification(za + explained, targets, multi_label, smoothing)}
    if "action_logits" in clip:
        presence = presence_score(clip["action_logits"])
        terms["presence"] = tf.where(
            has_action, tf.nn.softplus(-presence), tf.nn.softplus(presence)
        )
        terms["time_spread"] = time_spread(clip["action_attention"], time_spread_floor)
    if conjugate is None:
        nothing = tf.zeros_like(terms["combined"])
        names = ("difference", "context", "agreement", "disagreement", *SWAP_TERMS)
        return {**terms, **dict.fromkeys(names, nothing)}
    paired = tf.cast(has_conjugate & has_action, tf.float32)
    za_conjugate, zc_conjugate = conjugate["action_scores"], conjugate["context_scores"]
    scene = targets if context_targets is None else context_targets
    pair_terms = {
        # Evidence common to clip and conjugate cancels; the gradient flows through both.
        "difference": classification(za - za_conjugate, targets, multi_label, smoothing),
        # The context expert's only class gradient: the conjugate with the clip's label.
        "context": classification(zc_conjugate, scene, multi_label, smoothing),
        "agreement": 1 - cosine(clip["context"], conjugate["context"]),
        "disagreement": tf.nn.relu(cosine(clip["action"], conjugate["action"])),
    }
    terms.update(dict.fromkeys(SWAP_TERMS, tf.zeros_like(terms["combined"])))
    if swapped is not None:
        chosen = tf.cast(swapped, tf.float32)
        action = classification(za, targets, multi_label, smoothing)
        terms["swap_action"] = chosen * tf.cast(has_action, tf.float32) * action
        pair_terms["swap_uniform"] = chosen * uniform_target(za_conjugate, multi_label)
    if "presence" in terms:
        absence = tf.nn.softplus(presence_score(conjugate["action_logits"]))
        terms["presence"] += paired * absence
    return {**terms, **{name: paired * term for name, term in pair_terms.items()}}


def apart_terms(
    clip: Outputs,
    conjugate: Outputs | None,
    targets: tf.Tensor,
    *,
    has_conjugate: tf.Tensor | None,
    has_action: tf.Tensor,
    swapped: tf.Tensor | None = None,
    context_targets: tf.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> dict[str, tf.Tensor]:
    """Returns the terms of the loss form `apart`: no expert's class loss contains another's score.

    A swapped clip has no terms of its conjugate, which is another clip's scene. Arguments as for
    `factorization_terms`; the outputs have `average_scores` `[B, K]` beside the others.

    Returns:
        float32 `[B]` by name: `recipes.options.APART_TERMS`.
    """
    multi_label = targets.dtype.is_floating

    def learn(scores: tf.Tensor, wanted: tf.Tensor = targets) -> tf.Tensor:
        return classification(scores, wanted, multi_label, label_smoothing)

    scene = targets if context_targets is None else context_targets
    other = tf.zeros_like(has_action) if swapped is None else swapped
    chosen = tf.cast(other & has_action, tf.float32)
    average = learn(clip["average_scores"])
    presence = presence_score(clip["action_logits"])
    nothing = tf.zeros_like(average)
    terms = {
        **dict.fromkeys(APART_TERMS, nothing),
        "action": learn(clip["action_scores"]),
        "context": chosen * learn(clip["context_scores"], scene),
        "presence": tf.where(has_action, tf.nn.softplus(-presence), tf.nn.softplus(presence)),
        "average": (1 - chosen) * average,
        "average_swap": chosen * average,
    }
    if conjugate is None:
        return terms
    za = conjugate["action_scores"]
    pair_terms = {
        "difference": learn(clip["action_scores"] - za),
        "context": learn(conjugate["context_scores"]),
        "uniform": uniform_target(za, multi_label),
        "agreement": 1 - cosine(clip["context"], conjugate["context"]),
        "disagreement": tf.nn.relu(cosine(clip["action"], conjugate["action"])),
        "presence": tf.nn.softplus(presence_score(conjugate["action_logits"])),
        "average_uniform": uniform_target(conjugate["average_scores"], multi_label),
    }
    paired = tf.cast(has_conjugate & has_action & ~other, tf.float32)
    return {**terms, **{name: terms[name] + paired * term for name, term in pair_terms.items()}}


def remedy_terms(
    outputs: Mapping[str, Any],
    targets: tf.Tensor,
    has_action: tf.Tensor,
    person: tf.Tensor | None,
    label_smoothing: float = 0.0,
) -> dict[str, tf.Tensor]:
    """Returns the terms of the remedies, of the scores that name the action.

    These are `action_scores` and `average_scores`, or of a head without factors `combined_scores`;
    their mean, if there are two.

    Args:
        outputs: Outputs for the clips, with those for the views `erased` and `masked` by name.
        targets, has_action, label_smoothing: As for `factorization_terms`.
        person: Whether a person is masked in the view, bool `[B]`.

    Returns:
        float32 `[B]` by name, 0 without the view. `background_erasing`: the cross entropy of the
        clip with one of its frames mixed into all, and the squared distance of both clips' average
        features, of length 1. `human_mask`: what the entropy of the clip without its person lacks
        to the greatest.
    """
    multi_label = targets.dtype.is_floating
    names = [name for name in ("action_scores", "average_scores") if name in outputs]
    names = names or ["combined_scores"]
    nothing = tf.zeros([tf.shape(targets)[0]])
    terms: dict[str, tf.Tensor] = {**dict.fromkeys(REMEDY_TERMS, nothing)}
    erased, masked = outputs.get(ERASED), outputs.get(MASKED)
    if erased is not None:
        learned = [
            classification(erased[name], targets, multi_label, label_smoothing) for name in names
        ]
        distance = 2 * (1 - cosine(outputs["pooled"], erased["pooled"]))
        terms["background_erasing"] = tf.add_n(learned) / len(names) + distance
    if masked is not None:
        missing = tf.add_n([_missing_entropy(masked[name], multi_label) for name in names])
        chosen = tf.cast(has_action & person, tf.float32)
        terms["human_mask"] = chosen * missing / len(names)
    return terms


def _missing_entropy(scores: tf.Tensor, multi_label: bool) -> tf.Tensor:
    """Returns the greatest entropy of logits `[B, K]` less theirs; multi-label: summed over K."""
    if multi_label:
        scores = tf.stack([scores, tf.zeros_like(scores)], axis=-1)
    logs = tf.nn.log_softmax(scores)
    missing = tf.math.log(float(scores.shape[-1])) + tf.reduce_sum(tf.exp(logs) * logs, axis=-1)
    return tf.reduce_sum(missing, axis=-1) if multi_label else missing


def presence_score(action_logits: tf.Tensor) -> tf.Tensor:
    """Returns evidence of an action: `logsumexp(la) - log N` over N positions of `[B, T, H, W]`."""
    positions = tf.cast(tf.reduce_prod(tf.shape(action_logits)[1:]), tf.float32)
    return tf.reduce_logsumexp(action_logits, axis=[1, 2, 3]) - tf.math.log(positions)


def time_spread(attention: tf.Tensor, floor: float) -> tf.Tensor:
    """Returns `max(0, floor - H(p) / log T)` for p the attention `[B, T, H, W]` summed over space.

    Keeps the map from collapsing to one time step; 0 for T = 1.
    """
    share = tf.reduce_sum(attention, axis=[2, 3])
    entropy = -tf.reduce_sum(tf.math.xlogy(share, share), axis=1)
    steps = tf.cast(tf.shape(attention)[1], tf.float32)
    # For T = 1 the quotient is 0 / 0; a floor of 0 leaves the term 0 there.
    spread = tf.math.divide_no_nan(entropy, tf.math.log(steps))
    return tf.nn.relu(tf.where(steps > 1, floor, 0.0) - spread)


def cosine(a: tf.Tensor, b: tf.Tensor, epsilon: float = 1e-8) -> tf.Tensor:
    """Returns the cosine of the rows of `[B, D]`; 0 for a zero row, without NaN in its gradient."""
    a, b = tf.cast(a, tf.float32), tf.cast(b, tf.float32)
    squares = tf.reduce_sum(a * a, -1) * tf.reduce_sum(b * b, -1)
    return tf.reduce_sum(a * b, -1) * tf.math.rsqrt(tf.maximum(squares, epsilon**2))
