"""What the engine and the stages agree on: records in, outputs out. No Kafka client in it."""
