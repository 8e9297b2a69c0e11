"""The endpoints, their requests and responses."""
