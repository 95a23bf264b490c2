"""What Safelight needs from the world: one Protocol per promise, its docstring the contract, kept by `adapters`."""
