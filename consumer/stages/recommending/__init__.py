"""The recommender: from events of items to what leads in each segment."""
