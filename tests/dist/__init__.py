"""What is distributed: archives of the product and of its Python client."""
