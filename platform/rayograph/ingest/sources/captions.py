"""Captions as sources have them: none, a text, or several of one image."""

from rayograph.errors import DataError


def captions_of(given: object, where: str) -> list[str]:
    """All captions in a cell; none for None. Raises DataError naming the sample for what is no text, or not UTF-8."""
    if given is None:
        return []
    if isinstance(given, list | tuple):
        return [_text(caption, where) for caption in given if caption is not None]
    return [_text(given, where)]


def caption_of(given: object, where: str) -> str | None:
    """The first caption, or None. Raises DataError as `captions_of` does."""
    return next(iter(captions_of(given, where)), None)


def _text(given: object, where: str) -> str:
    if isinstance(given, bytes):
        try:
            return given.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: expected a caption in UTF-8: {error}") from error
    if not isinstance(given, str):
        raise DataError(f"{where}: expected a caption that is text, got {type(given).__name__}")
    return given
