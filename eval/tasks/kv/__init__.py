"""Key-value retrieval from a JSON object."""
