"""What lies on disk: parts of checkpoints, policies. Plain arrays in and out."""
