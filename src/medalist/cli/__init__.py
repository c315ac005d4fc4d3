"""The command line. Commands only parse options and print; other rooms do the work."""
