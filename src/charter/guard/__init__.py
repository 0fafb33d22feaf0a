"""The guard: layers that check prompts and completions, and the stack that runs them."""
