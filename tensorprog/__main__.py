"""``python -m tensorprog``."""

from tensorprog.cli import entry

if __name__ == "__main__":
    entry()
