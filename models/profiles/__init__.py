"""What is known of each user: the rolling profile, its snapshot, the sample of users."""
