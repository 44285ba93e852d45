"""Files of weights: state dicts in the formats of others. The names for users are those of `exchange`."""
