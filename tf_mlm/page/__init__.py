"""The page: its small server and its plain files."""
