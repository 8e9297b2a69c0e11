"""What belongs to HTTP alone: problems, bodies, media types, credentials, limits of connections."""
