"""Measurements on camera streams, against what a camera's owner would take: video codecs, holding."""
