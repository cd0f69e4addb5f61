"""Everything asked of a cluster: clients, topics, reading up to an end."""
