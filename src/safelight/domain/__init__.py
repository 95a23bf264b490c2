"""The rules as plain values: no driver, no await."""
