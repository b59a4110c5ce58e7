"""How much may be asked of a picture: numbers out of range are refused before any work."""

from aedist.errors import UserError

MOST_STEPS = 20
"""Images in a row that goes from one place to another."""


def check_number(option: str, value: int, least: int = 1, most: int | None = None) -> None:
    """Refuse a number below the least or above the most.

    Raises:
        UserError: naming the option, its value, and the range.
    """
    if value < least or (most is not None and value > most):
        rule = f"{least} or more" if most is None else f"from {least} to {most}"
        raise UserError(f"{option}: {value} is refused: it must be {rule}")


def check_count(option: str, count: int, most: int) -> None:
    """Refuse more values of an option than a picture has room for.

    Raises:
        UserError: naming the option, how many there are, and the most.
    """
    if count > most:
        raise UserError(f"{option}: {count:,} are refused: a picture shows {most} at most; name fewer")
