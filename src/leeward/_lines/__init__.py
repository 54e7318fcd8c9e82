"""What `leeward.LineClient` is made of: asyncio and sockets, for what `_core` decides."""
