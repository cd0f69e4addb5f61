"""Health and every metric."""
