"""Our recipes; `default` and `stills` are for the user's own data.

Those two are from scratch; under `--weights` they are not (`aacf_tf.recipes.pretrained`).
"""

from __future__ import annotations

import dataclasses

from aacf_tf.recipes.options import (
    DataOptions,
    LossOptions,
    Recipe,
    Stage,
)


def demo() -> Recipe:
    """The embedded demo: the class is in the motion, the scene betrays it in nine clips of ten.

    Source: our benchmark; the schedule 'from scratch' with the pair losses alone in its first half.
    Backbone and factorization learn together from the biased pairs, without masks or pretraining.
    Cost: 5 minutes on 2 quiet cores, average pooling beside it and everything else included.
    Expected: on `test_uniform` top-1 of the action score about .86, of average pooling .19.
    Command: `python train_main.py`
    """
    return Recipe(
        name="demo",
        # Crops of 40 pixels: 1500 pairs are soon known by heart.
        data=DataOptions(frames=12, height=48, width=48, crop=0.84, cache=True),
        stages=(
            Stage(
                "main",
                epochs=24,
                batch_size=16,
                learning_rate=4e-3,
                warmup=0.1,
                pairs_first=0.5,
            ),
        ),
        backbone_options={"width": 64},
        baseline="alone",
        mask_threshold=0.0,
    )


def jhmdb() -> Recipe:
    """J-HMDB from scratch: the backbone with average pooling, then AACF on it.

    Source: our choice; real videos without pretrained weights. Two pairs in three show an actor
    pasted into the scene of another clip (`data.swap`), the others a clip beside itself with the
    person removed. `difference` gains on the clips and loses in other scenes: off. Without masks in
    `train` set `data.swap` to 0 and `data.frozen_conjugates` to 0.5.
    Cost: 13 minutes on 2 quiet cores. Reached on split 1 (standard error .027): top-1 of average
    pooling .24, of AACF's combined score .32; pointing .70, mass .45, AUC .74 of the action map.
    Command: `python train_main.py --recipe=jhmdb --data=data/jhmdb`
    """
    return Recipe(
        name="jhmdb",
        data=DataOptions(
            frames=12, height=72, width=96, fps=15.0, crop=0.875, swap=0.67, cache=True
        ),
        # Twice the usual presence weight: on real videos it is what draws the map to the actor.
        loss=LossOptions(difference=0.0, presence=0.5),
        stages=(
            Stage(
                "backbone",
                head="average",
                epochs=36,
                batch_size=16,
                optimizer="adamw",
                learning_rate=2e-3,
                warmup=80,
                weight_decay=0.05,
                label_smoothing=0.1,
                dropout=0.4,
            ),
            Stage(
                "factorization",
                epochs=8,
                batch_size=16,
                learning_rate=2e-3,
                warmup=30,
                backbone_rate=0.3,
                weight_decay=1e-4,
                label_smoothing=0.1,
                dropout=0.2,
            ),
        ),
        backbone_options={"width": 192, "residual": True},
        score="combined",
        baseline="stage",
    )


def default() -> Recipe:
    """The user's own data: backbone first, then AACF on it; every loss term.

    Source: our choice, after `jhmdb`; conjugates from before and after the action are clean enough
    for `difference`.
    Command: `python train_main.py --data=data/mine --workdir=runs/mine`
    """
    base = jhmdb()
    return dataclasses.replace(
        base,
        name="default",
        data=dataclasses.replace(base.data, fps=10.0, swap=0.0, cache=False),
        loss=LossOptions(),
        score="action",
    )


def stills() -> Recipe:
    """Photographs, without pretrained weights: backbone first, then AACF on it.

    Source: our choice, after `jhmdb`; for `voc2012_action`, photographs of the user's own, frames
    of clips (`--stills`); one action an image or several. The shorter side is 128 pixels; training
    cuts windows of 112, tests see all of an image. A removed person leaves traces, so `difference`
    is off. Decoded images stay in memory, 0.13 MB each with its conjugate; if they are too many,
    set `data.cache` to false. `data.swap` needs masks of people; boxes will not do.
    Cost: 9 minutes on 2 busy cores for 676 images to train on. Reached there (4 frames of each of
    254 clips of J-HMDB; 340 test images, standard error about .03): mean AP of average pooling
    .23, of AACF's action .13, context .22, combined .19; pointing .56, mass .35, AUC .77 of the
    action map, .38, .26, .80 of the mean training mask.
    Command: `python train_main.py --recipe=stills --data=data/stills`
    """
    return dataclasses.replace(
        jhmdb(),
        name="stills",
        data=DataOptions(frames=1, height=128, width=128, resize="whole", crop=0.875, cache=True),
    )
