"""Image completion: fills holes with plausible content.

The network of Iizuka et al. (2017), trained on the user's own pictures; see docs/completion.md.

    options.py     settings and presets
    networks.py    completion network, discriminators
    pictures.py    reads pictures from folders and data sets
    draws.py       draws crops and holes at random
    objectives.py  losses, and the training step of each phase
    training.py    trains all phases, saves and resumes
    results.py     the history of losses and figures, TensorBoard
    comparison.py  against Telea on held-out holes: figures, sheets of samples, curves
    serving.py     the SavedModel
"""
