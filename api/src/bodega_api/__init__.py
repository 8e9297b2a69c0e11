"""The HTTP side: list versions, choose one, verify its bytes, predict."""
