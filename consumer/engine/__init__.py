"""The loop of a process: batches, transactions and partitions."""
