"""What items a segment and a user are shown: popularity, item vectors, factors, and cold starts."""
