"""The OpenAPI description of what is served, for clients and generators of them: `GET /openapi.json`."""
