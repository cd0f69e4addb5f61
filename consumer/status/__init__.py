"""`segmenter status`: how a group stands, from Kafka alone, and from workers that are named."""
