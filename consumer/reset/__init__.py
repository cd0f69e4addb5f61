"""`segmenter reset`: a stopped group forgets what it knows of users, and reads again."""
