"""What a user of the measurements may meet; each prints as one clear line."""

from schemas.errors import SaccadeError


class EvaluationError(SaccadeError, ValueError):
    """The data, the models or a choice do not fit together; the message names what and the way out."""


class TrainingError(SaccadeError, ValueError):
    """Training cannot start or go on as asked; the message is one line that names the thing and its value."""
