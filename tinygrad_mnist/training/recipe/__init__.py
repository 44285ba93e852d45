"""Recipes: what is trained and how, as plain data and files, and what is built by them."""
