"""One module for each kind of resource. A route parses, asks the service, and answers."""
