"""A tRPC v11 server: HTTP, JSONL streams, server-sent events, WebSocket. Knows nothing of this product."""
