"""Loading, chat templates, LoRA, generation and endpoints: everything that touches a model's weights or words."""
