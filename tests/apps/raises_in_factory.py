"""Its factory raises."""


def connect() -> None:
    raise ConnectionError("the database is away")


def make_app() -> None:
    connect()
