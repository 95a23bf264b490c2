"""Keepers of the Cdn port."""
