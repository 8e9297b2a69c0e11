"""What a person touches: register, list and load models from a notebook."""
