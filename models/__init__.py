"""What computes, with no Kafka in it: text, embedding, profiles, clustering."""
