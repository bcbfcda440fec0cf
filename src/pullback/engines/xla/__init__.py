"""Programs on XLA: each op as `jax.lax` has it, a whole step as one executable. The one package that imports JAX."""
