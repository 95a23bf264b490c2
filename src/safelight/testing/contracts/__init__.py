"""One file per port: pytest classes that hold an adapter to the words of the port."""
