"""What crosses a process border: pydantic models, events, topic names, the tree of errors. Imports nothing of ours."""
