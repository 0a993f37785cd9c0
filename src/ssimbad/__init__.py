"""Reproducible reference-based colorization of anime face sketches (SSIMBaD, arXiv 2506.04283)."""

__version__ = "0.1.0"
