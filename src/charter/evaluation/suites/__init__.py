"""The four shipped suites: their samples (`samples`) and the checkers that need no judge (`checks`)."""
