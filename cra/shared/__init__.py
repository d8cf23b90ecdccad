"""What several processes count and decide together."""
