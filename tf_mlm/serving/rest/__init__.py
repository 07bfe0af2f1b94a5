"""TF-Serving's REST interface."""
