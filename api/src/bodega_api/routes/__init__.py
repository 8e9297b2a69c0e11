"""The endpoints, what they take and what they answer."""
