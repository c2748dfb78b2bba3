"""Kinds of sources: each module owns how its kind is written, opened and paced; `registry` lists them."""
