"""The config: its schema, and the files it is read from."""
