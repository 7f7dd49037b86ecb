"""These files are a user's, imported by name from their own folder; there is nothing to collect in them."""

collect_ignore = ["faulty.py", "run_measure.py"]
