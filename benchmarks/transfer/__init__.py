"""Ways of carrying a source model over to a domain, trained side by side at several data budgets."""
