"""Who does the units: each engine hands out their numbers and repeats those whose worker died."""
