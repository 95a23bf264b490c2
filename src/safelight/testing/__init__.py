"""Shipped for tests: contracts that any adapter can inherit, and factories."""
