"""What goes over the wire: one model per shape, made from the domain's values here and nowhere else."""
