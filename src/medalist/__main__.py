"""The entry point of `python -m medalist`. A command that needs several processes starts them by this module."""

from medalist.cli.main import main

if __name__ == "__main__":
    main()
