"""Measures how much a classifier goes by the scene: `python -m aacf_tf.bias`.

    from aacf_tf.bias import measure, describe, write
    bias = measure(predict, "data/mine", frames=16, size=(112, 112))
    print(describe(bias.content))
    write(bias, "bias")

    sets.py         the test sets: what becomes of a clip, pixel by pixel
    clips.py        the clips of a split, with masks and scenes
    measuring.py    makes the sets and has them judged
    judging.py      the classifier's answers: shares, intervals, maps
    classifier.py   any SavedModel as a function of clips; options.py: how it is called
    results.py      tables, bias.json, the page
    composites.py   test sets as data set directories

Names are imported on first use, so that `--help` does not start TensorFlow.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
