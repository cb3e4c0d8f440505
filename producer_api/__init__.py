"""The producer API: takes audio in, publishes jobs, tells what became of them."""
