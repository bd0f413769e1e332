"""How a team learns from joint transitions: plain PyTorch and numpy, without Ray."""
