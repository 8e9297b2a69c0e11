"""What a model takes and gives: learning it from an example, and comparing two of them."""
