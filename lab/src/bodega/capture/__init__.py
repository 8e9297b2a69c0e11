"""What is noted of a registration beside the model: lineage, data, parameters."""
