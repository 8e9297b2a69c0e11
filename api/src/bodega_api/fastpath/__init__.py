"""Plain predictions, answered below ASGI; everything else goes the ordinary path."""
