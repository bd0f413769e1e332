"""The experiments of Zhang et al. (AAAI 2020), run again by `rllib reproduce`: their tables and figures."""
