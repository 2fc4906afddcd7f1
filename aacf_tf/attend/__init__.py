"""Shows where a model looks in a video or a photograph: `python -m aacf_tf.attend`."""
