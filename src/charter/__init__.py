"""charter: align causal language models to one written file, and measure that it worked."""

__version__ = "0.1.0"
