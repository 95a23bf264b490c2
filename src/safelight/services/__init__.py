"""Use cases: frozen dataclasses whose needs are two to five fields and whose methods are verbs."""
