"""The shipped suites: what each measures (`catalogue`), their samples, and the checkers that need no judge."""
