"""The forms in which rows come and answers go: JSON, CSV, Arrow and Parquet."""
