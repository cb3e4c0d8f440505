"""Webhooks: whether an address may be called, what is sent there, and the deliverer that sends it until it is taken."""
