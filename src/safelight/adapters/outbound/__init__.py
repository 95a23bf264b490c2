"""How Safelight asks servers that it does not know."""
