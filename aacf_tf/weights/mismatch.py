"""How it is said that weights do not fit a model: once, with names and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow import keras

    from aacf_tf.weights.files import Value

_SHOWN = 10  # names of each sort in an error


def named(variable: Value | tf.Variable) -> str:
    """Name and shape of a variable, for messages."""
    return f"{variable.name.partition(':')[0]} {list(variable.shape)}"


def raise_misfit(
    where: str, backbone: keras.Model, misfits: Mapping[str, Sequence[str]], hints: Iterable[str]
) -> None:
    """Raises ONE UsageError where something does not fit.

    Args:
        where: file, kind and naming.
        backbone: the model.
        misfits: what is wrong -> names and shapes; empty lists where nothing is.
        hints: what to do about it; the same one may come several times.
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
