"""The volume: artifacts by their sha256, manifests, trash, and bundles of exported versions."""
