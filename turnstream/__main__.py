"""`python -m turnstream`: the console script where scripts are not on the path."""

from turnstream.cli import main

if __name__ == "__main__":
    main()
