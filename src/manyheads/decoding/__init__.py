"""Text from a network: the cache, samplers, generation."""
