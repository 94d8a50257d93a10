"""After the search: the choice among finalists, what improves it, the model handed over, and the locked test set."""
