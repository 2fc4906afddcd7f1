"""Finds people in clips without masks: by MediaPipe in an environment of its own, or by motion."""
