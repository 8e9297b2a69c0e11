"""What a person is shown: receipts, comparisons, tables, JSON, progress."""
