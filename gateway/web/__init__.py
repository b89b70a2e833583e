"""HTTP: routes, request bodies, responses, problems, middleware, OpenAPI. Only this package and app.py know FastAPI."""
