"""A laboratory of real programs with a true label each, to see what the rules say of them."""
