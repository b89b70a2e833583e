"""HTTP: routes, request bodies, responses, problems, middleware, OpenAPI. Nothing else knows FastAPI."""
