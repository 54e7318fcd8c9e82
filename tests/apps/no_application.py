"""Has a factory that makes no application, and things that are none."""

number = 42


def make_app() -> dict[str, int]:
    return {"port": 8000}
