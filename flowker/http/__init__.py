"""HTTP in front of the operations: the document decides, Connexion routes, openapi-core judges."""
