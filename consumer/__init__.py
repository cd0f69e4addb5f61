"""What touches Kafka: settings, the loop, the stages, topics, metrics, the command line."""
