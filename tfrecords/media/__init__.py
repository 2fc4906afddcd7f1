"""Decodes what lies on disk: videos, images, masks; and flow."""
