"""What several stages use: dead letters, the log of refusals, records that fail, snapshots."""
