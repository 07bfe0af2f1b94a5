"""The page of `tf-mlm page`: its small server, and its HTML, CSS and JavaScript."""
