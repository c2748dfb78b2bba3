"""The vision transformers: preprocessing, weights, forwards, entropy, patch selection, patch codecs."""
