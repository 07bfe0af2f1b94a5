"""What runs the units of work: local processes, Ray or Beam; each repeats those whose worker died."""
