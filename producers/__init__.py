"""Camera sources, pacing, drop policy and publishing to the frames topic."""
