"""Helpers of the conformance suite: the server under test, an own signer and client, BYOK wrapping."""
