"""States of KV caches on disk, so that a conversation goes on, and a file is asked about again, without a prefill."""
