"""Fits the stages of a recipe."""
