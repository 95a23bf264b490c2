"""Safelight: the image backend that a team owns."""

__version__ = "0.1.0"
