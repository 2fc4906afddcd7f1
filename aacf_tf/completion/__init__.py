"""Completion of images: holes filled with what could stand there.

The network of Iizuka et al. (2017), trained on the user's own pictures; see docs/completion.md.

    options.py     what can be chosen, and the presets
    networks.py    completion network, discriminators
    pictures.py    where pictures come from
    draws.py       crops and holes: what chance decides
    objectives.py  losses, and the training step of each phase
    training.py    trains all phases, saves and resumes
    results.py     the history of losses and figures, TensorBoard
    comparison.py  against Telea on held-out holes: figures, sheets of samples, curves
    serving.py     the SavedModel
"""
