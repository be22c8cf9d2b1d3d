"""The one data model: frozen pydantic records that every room exchanges. Imports pydantic alone."""
