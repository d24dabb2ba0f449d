"""The page a person looks at: is the model well? Built from files alone, so that it can be drawn anew, and offline, at any time."""
