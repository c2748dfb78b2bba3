"""The live page: pictures, labels and reasons for people, read beside the workers without a word to them."""
