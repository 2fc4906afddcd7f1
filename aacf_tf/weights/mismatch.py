"""Builds the one error message for weights that do not match a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow import keras

    from aacf_tf.weights.files import Value

_SHOWN = 10  # names of each kind in an error


def named(variable: Value | tf.Variable) -> str:
    """Returns name and shape of a variable, for messages."""
    return f"{variable.name.partition(':')[0]} {list(variable.shape)}"


def raise_misfit(
    where: str, backbone: keras.Model, misfits: Mapping[str, Sequence[str]], hints: Iterable[str]
) -> None:
    """Raises ONE UsageError if there are misfits.

    Args:
        where: File, kind and naming.
        backbone: The model.
        misfits: Kind of misfit -> names and shapes; lists may be empty.
        hints: Remedies; duplicates are dropped.
    """
    lists = []
    for title, names in misfits.items():
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            lists.append(f"{title} ({len(names)}): {', '.join(names[:_SHOWN])}{more}")
    if lists:
        raise UsageError(
            f"Expected {where} to fit the model {backbone.name!r}, received: "
            + " ".join([f"{'; '.join(lists)}.", *dict.fromkeys(hints)])
        )
