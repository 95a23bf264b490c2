"""Door: what people see in a browser. A plain gallery today; same services as the API, no private endpoints."""
