"""What works on files: reading them, replaying, producing and evaluating them."""
