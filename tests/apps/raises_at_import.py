"""Cannot be imported."""


def settings() -> dict[str, str]:
    return {}["database"]


DATABASE = settings()
