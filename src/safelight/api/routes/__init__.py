"""One file per resource; a route is six lines."""
