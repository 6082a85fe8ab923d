"""The same alerts, with the same ids and bytes: whatever crashes, and whatever changes in the code. Open chaos/ first."""
