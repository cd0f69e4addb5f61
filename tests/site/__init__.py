"""The site that docs/ is made into."""
