"""Sources that are the exports of annotation tools."""
