"""How a model becomes bytes and bytes a model, and what may be loaded at all."""
