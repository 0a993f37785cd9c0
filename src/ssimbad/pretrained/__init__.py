"""Frozen networks that others trained: those of metrics and losses, and where their weights come from."""
