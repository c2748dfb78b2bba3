"""The one error of training that a person can put right."""

from schemas.errors import SaccadeError


class TrainingError(SaccadeError, ValueError):
    """Training cannot start or go on as asked; the message is one line that names the thing and its value."""
