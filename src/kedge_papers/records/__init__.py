"""What runs have left: records, and the rows and curves made of them."""
