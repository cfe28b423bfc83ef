"""The studies that are shipped: one question, one file."""
