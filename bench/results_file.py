"""bench/RESULTS.md: each command replaces its own part and leaves the others alone. run.py has the head, the judge's commands a section each."""

from pathlib import Path

from coderl.store import atomic_write


def put_section(path: Path, title: str, lines: list[str]) -> None:
    """Put `## title` and its lines into the file: in place of the section of that title, or at the end."""
    parts = path.read_text().split("\n## ") if path.exists() else ["# Speed\n"]
    own = "\n".join([title, "", *lines, ""])
    where = [i for i, part in enumerate(parts) if i and part.split("\n", 1)[0] == title]
    if where:
        parts[where[0]] = own
    else:
        parts[-1] = parts[-1].rstrip("\n") + "\n"
        parts.append(own)
    atomic_write(path, "\n## ".join(parts))


def put_head(path: Path, lines: list[str]) -> None:
    """Put what comes before the first section."""
    sections = path.read_text().split("\n## ")[1:] if path.exists() else []
    atomic_write(path, "\n## ".join(["\n".join(lines), *sections]))
