"""What Everforge tells its operators: Prometheus metrics."""
