"""Text files that people edit, `.env` first: in UTF-8, whatever an editor or a shell made of them."""

from pathlib import Path


def read_utf8(path: Path) -> str:
    """Return the text, without a byte order mark. Raises ValueError with a sentence that names the file."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as e:
        raise ValueError(f"{path} cannot be read: {e.strerror}.") from e
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 in ASCII's range is valid UTF-8, with NUL characters
        raise ValueError(f"{path} is not in UTF-8: save it as UTF-8 (PowerShell's >> may have written UTF-16).")
    return text
