"""Async plumbing shared by the programs; the only adapters to Kafka and Redis."""
