"""`python -m medalist`, which is also how several processes of one command are started."""

from medalist.cli.main import main

if __name__ == "__main__":
    main()
