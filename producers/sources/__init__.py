"""Where pictures come from: files, video, rendered scenes."""

from producers.sources.captured import Captured, EncodedImage, FrameSource, RawImage, Unreadable

__all__ = ["Captured", "EncodedImage", "FrameSource", "RawImage", "Unreadable"]
