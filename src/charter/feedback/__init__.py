"""Training data made from the charter: built-in pairs and the methods that label, contrast and revise."""
