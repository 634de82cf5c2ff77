"""Engines of several releases side by side: what each makes of an insert that is sent again."""
