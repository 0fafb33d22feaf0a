"""Judges: what scores a completion, can say "unscored", and ships with its measured agreement with people."""
