"""Intervals, exact tests, power and decisions: small pure functions on counts and arrays."""
