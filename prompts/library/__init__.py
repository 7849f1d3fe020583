"""Templates on disk: read, checked, saved, promoted and rolled back."""
