"""What the wire has beside the contract: error details and health."""
