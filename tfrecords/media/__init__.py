"""Decoding of videos, images and masks, and optical flow."""
