"""After the search: the choice among finalists, the model handed over, predictions, and the locked test set."""
