"""What a user of the measurements may meet; each prints as one clear line."""


class EvaluationError(ValueError):
    """The data, the models or a choice do not fit together; the message names what and the way out."""
