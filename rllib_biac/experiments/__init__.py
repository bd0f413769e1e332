"""What an experiment file means: reading, names, ranges, sweeps, overrides, starting Ray and Tune."""
