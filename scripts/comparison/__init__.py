"""DNS balancing beside L7 balancers: real programs, one generator, the same backends and probes for all."""
