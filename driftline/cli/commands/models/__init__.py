"""Commands about stored models and references: names and versions come in; tables, a moved pointer or a file go out.

Open `models.py` first; `reference.py` makes references from files and prints what they contain.
"""
