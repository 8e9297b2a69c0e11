"""One model in memory: what it takes and gives, how it is written, loaded and asked. No SQL, no HTTP."""
