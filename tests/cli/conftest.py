from tests.cli.runner import run

__all__ = ["run"]
