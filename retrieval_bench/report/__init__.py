"""Records and points → tables, figures and contact sheets. Reads what a run measured; measures nothing."""
