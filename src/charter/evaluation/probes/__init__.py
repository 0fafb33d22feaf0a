"""Paired probes of reward models: the same answer twice, once with something that should not raise its reward."""
