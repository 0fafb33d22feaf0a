"""The guard as a server that speaks the OpenAI protocol in front of any model."""
