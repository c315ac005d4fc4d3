"""What commands do that train or predict networks, without a terminal."""
