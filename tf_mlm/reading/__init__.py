"""Files of text, wherever they lie: found, recognised, and read as documents."""
