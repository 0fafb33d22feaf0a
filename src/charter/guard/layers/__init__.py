"""The layers of the guard, one module each."""
