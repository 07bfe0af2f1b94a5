"""From files of text to masked batches: documents, split, token ids on disk, shards, packed rows."""
