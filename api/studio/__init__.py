"""The studio: the page at ``/``. It is made of plain files, which the browser runs without a build step."""

from pathlib import Path

STATIC = Path(__file__).resolve().parent / "static"
"""Folder of the page's files."""
