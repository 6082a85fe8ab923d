"""Model versions in Redis, and the HTTP service that answers with the current one."""
