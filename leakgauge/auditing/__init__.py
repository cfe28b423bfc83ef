"""One audit: `pipeline` runs it, `judging` compares guess and truth, `verdict` decides what that means, `record` keeps it."""
