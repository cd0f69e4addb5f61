"""What `benchmarks.soak` is made of: its processes, its load, slopes, and the verdict."""
