"""From verified bytes to a model that answers as it did: first in a sandbox, then here."""
