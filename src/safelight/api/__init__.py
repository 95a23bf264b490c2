"""The HTTP door: validate, one service call, present. No rule lives here."""
