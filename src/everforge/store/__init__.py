"""Stores: where campaigns and trials are kept. One port, adapters for memory and MLflow, an outbox."""
