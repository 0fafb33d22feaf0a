"""Attacks on a model: what each is, how they are run together, and what their results say."""
