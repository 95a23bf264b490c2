"""Inboxes: where other systems leave messages for Safelight."""
