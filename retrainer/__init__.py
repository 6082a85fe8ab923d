"""Request -> training set -> candidate -> gate -> swap."""
