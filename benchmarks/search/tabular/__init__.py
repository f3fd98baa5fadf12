"""Transfer configurations trained once for real and kept in a table, on which search policies are replayed."""
