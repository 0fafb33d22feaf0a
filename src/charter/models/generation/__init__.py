"""Batched generation on local models."""
