"""`medalist kaggle`: submit, wait for scores, download and push notebooks, through Kaggle's own client.

The client (the package `kaggle`, the extra of the same name) is imported only when a command needs it.
"""
